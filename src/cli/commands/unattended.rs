//! `migrate unattended-upgrades`; what its options mean is decided in the core.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{print, print_json};
use crate::{
    adapters::{migrate::unattended, state_file},
    cli::{args::UnattendedArgs, error::CliError},
    config,
    core::migrate::unattended::{Left, Translation, translate},
    observe::logging::chain,
};

/// The drop-in's name: weaker than those of the administrator's that are numbered higher.
const NAME: &str = "20-unattended-upgrades.toml";

/// What `--json` prints, and the text is made of.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    dry_run: bool,
    /// The file, and what is, or would be, in it.
    file: PathBuf,
    toml: String,
    /// What has no equivalent.
    left: Vec<Left>,
    /// The file that puts unattended-upgrades out of work, where that was asked for.
    switched_over: Option<PathBuf>,
    /// It will still run.
    still_on: bool,
}

/// Carries the configuration over.
pub async fn run(args: &UnattendedArgs) -> Result<u8, CliError> {
    let failed = |error: &(dyn std::error::Error + 'static)| CliError::Failed(chain(error));
    let options =
        unattended::read(args.apt_config.as_deref()).await.map_err(|error| failed(&error))?;
    if !options.is_known() {
        return print("nothing to migrate: unattended-upgrades is not configured here\n");
    }
    let mut translation = translate(&options);
    spare(&mut translation, &args.config_root)?;
    let toml = translation.toml();
    let good = config::load_with(&args.config_root, NAME, &toml);
    good.map_err(|errors| CliError::Config(chain(&errors)))?;
    let file = args.config_root.join("etc/lockkeeper/conf.d").join(NAME);
    let mut switched_over = None;
    if !args.dry_run {
        write(&file, &toml)?;
        if args.switch_over {
            let switched = unattended::switch_over(&args.config_root);
            switched_over = Some(switched.map_err(|error| failed(&error))?);
        }
    }
    let document = Document {
        schema: 1,
        dry_run: args.dry_run,
        file,
        toml,
        left: translation.left,
        still_on: options.is_on() && switched_over.is_none(),
        switched_over,
    };
    if args.json { print_json(&document) } else { print(&text(&document)) }
}

/// What the administrator has set is not overruled.
fn spare(translation: &mut Translation, root: &Path) -> Result<(), CliError> {
    let loaded = config::load(root).map_err(|errors| CliError::Config(chain(&errors)))?;
    let own = root.join("etc/lockkeeper");
    let place = |key: &str| {
        let key = if key == "window" { "window[0].start" } else { key };
        let place = loaded.origin(key)?.place()?;
        let ours = place.file.file_name().is_some_and(|name| name == NAME);
        (place.file.starts_with(&own) && !ours).then(|| place.to_string())
    };
    let (set, rest): (Vec<_>, Vec<_>) =
        translation.settings.drain(..).partition(|setting| place(&setting.key).is_some());
    translation.settings = rest;
    for setting in set {
        let place = place(&setting.key).unwrap_or_default();
        let why = format!("{} is set already, in {place}", setting.key);
        translation.left.push(Left { option: setting.from, why });
    }
    Ok(())
}

/// A file of that name that says something else is somebody's.
fn write(file: &Path, toml: &str) -> Result<(), CliError> {
    let failed = |what: &str, error: &io::Error| {
        CliError::Failed(format!("cannot {what} {}: {error}", file.display()))
    };
    match fs::read_to_string(file) {
        Ok(text) if text == toml => return Ok(()),
        Ok(_) => {
            let why = "is there already and says something else: look at it, remove it, and run this again";
            return Err(CliError::Failed(format!("{} {why}", file.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read", &error)),
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| state_file::replace(file, toml.as_bytes(), 0o644))
        .map_err(|error| failed("write", &error))
}

fn text(document: &Document) -> String {
    let verb = if document.dry_run { "would be written" } else { "is written" };
    let mut text = format!("{} {verb}:\n\n", document.file.display());
    for line in document.toml.lines() {
        let _ = writeln!(text, "    {line}");
    }
    if !document.left.is_empty() {
        text.push_str("\nNot carried over:\n");
    }
    for Left { option, why } in &document.left {
        let _ = writeln!(text, "  {option}\n      {why}");
    }
    text.push('\n');
    let _ = match (&document.switched_over, document.still_on) {
        (Some(file), _) => {
            let file = file.display();
            writeln!(
                text,
                "unattended-upgrades runs no more ({file}; remove that file to have it back)."
            )
        }
        (None, true) => writeln!(
            text,
            "unattended-upgrades goes on to run beside lockkeeper: run this with --switch-over when \
             you are content with the above."
        ),
        (None, false) => writeln!(text, "unattended-upgrades does not run here."),
    };
    if !document.dry_run {
        text.push_str("Let the agent read it: systemctl reload lockkeeperd\n");
    }
    text
}
