//! `migrate unattended-upgrades`; what its options mean is decided in the core.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{print, print_json};
use crate::{
    adapters::migrate::unattended,
    cli::{args::UnattendedArgs, error::CliError},
    config::{self, settings::Strategy},
    core::{
        doctor::Unattended,
        migrate::unattended::{Left, Options, Translation, translate},
    },
    observe::logging::chain,
};

/// The drop-in's name: weaker than those of the administrator's that are numbered higher.
const NAME: &str = "20-unattended-upgrades.toml";

/// What `--json` prints, and the text is made of.
#[derive(Debug, Serialize)]
struct Document {
    schema: u32,
    dry_run: bool,
    /// The file, and what is, or would be, in it. None when nothing can be written.
    drop_in: Option<DropIn>,
    /// What has no equivalent.
    left: Vec<Left>,
    /// The file that puts unattended-upgrades out of work, where that was asked for and possible.
    switched_over: Option<PathBuf>,
    /// Why that was asked for and is not done.
    not_switched_over: Option<String>,
    /// It will still run.
    still_on: bool,
    /// lockkeeper installs nothing.
    #[serde(skip)]
    off: bool,
}

#[derive(Debug, Serialize)]
struct DropIn {
    file: PathBuf,
    toml: String,
}

/// Carries the configuration over.
pub async fn run(args: &UnattendedArgs) -> Result<u8, CliError> {
    let options = unattended::read(args.apt_config.as_deref()).await;
    let options = options.map_err(|error| CliError::Failed(chain(&error)))?;
    let document = if options.is_known() { carry(args, &options).await? } else { nothing(args) };
    if args.json {
        print_json(&document)?;
    } else {
        print(&text(&document))?;
    }
    let blocked = document.left.iter().any(|left| left.blocks);
    Ok(u8::from(blocked || document.not_switched_over.is_some()))
}

fn nothing(args: &UnattendedArgs) -> Document {
    Document {
        schema: 1,
        dry_run: args.dry_run,
        drop_in: None,
        left: Vec::new(),
        switched_over: None,
        not_switched_over: None,
        still_on: false,
        off: false,
    }
}

async fn carry(args: &UnattendedArgs, options: &Options) -> Result<Document, CliError> {
    let root = &args.config_root;
    let mut translation = translate(options);
    spare(&mut translation, root)?;
    let does = options.does(unattended::installed(root));
    let mut document = Document { still_on: does != Unattended::Nothing, ..nothing(args) };
    if translation.blockers().next().is_none() {
        let toml = translation.toml();
        let loaded = config::load_with(root, NAME, &toml);
        let loaded = loaded.map_err(|errors| CliError::Config(chain(&errors)))?;
        document.off = loaded.settings.strategy == Strategy::Off;
        let file = root.join("etc/lockkeeper/conf.d").join(NAME);
        if !is_there(&file, &toml)? && !args.dry_run {
            write(&file, &toml)?;
        }
        document.drop_in = Some(DropIn { file, toml });
    }
    document.left = translation.left;
    if args.switch_over {
        switch_over(args, &mut document).await;
    }
    Ok(document)
}

/// What the administrator has set is not overruled.
fn spare(translation: &mut Translation, root: &Path) -> Result<(), CliError> {
    let loaded = config::load(root).map_err(|errors| CliError::Config(chain(&errors)))?;
    let own = root.join("etc/lockkeeper");
    translation.spare(|key| {
        let key = if key == "window" { "window[0].start" } else { key };
        let place = loaded.origin(key)?.place()?;
        let ours = place.file.file_name().is_some_and(|name| name == NAME);
        (place.file.starts_with(&own) && !ours).then(|| place.to_string())
    });
    Ok(())
}

/// Whether the drop-in is there as it should be. One that says something else is somebody's.
fn is_there(file: &Path, toml: &str) -> Result<bool, CliError> {
    let why = match fs::read_to_string(file) {
        Ok(text) if text == toml => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Ok(_) => {
            "is there already and says something else: look at it, remove it, and run this again"
                .to_owned()
        }
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(CliError::Failed(format!("{} {why}", file.display())))
}

fn write(file: &Path, toml: &str) -> Result<(), CliError> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let written = fs::create_dir_all(folder).and_then(|()| unattended::put(file, toml));
    let failed = |error| CliError::Failed(format!("cannot write {}: {error}", file.display()));
    written.map_err(failed)
}

/// Only where lockkeeper installs updates instead.
async fn switch_over(args: &UnattendedArgs, document: &mut Document) {
    let why = if document.drop_in.is_none() {
        "first the above must be settled".to_owned()
    } else if document.off {
        "strategy is \"off\", and then nothing would install updates here: choose one in \
         /etc/lockkeeper/lockkeeper.toml, and run this again"
            .to_owned()
    } else if args.dry_run {
        document.switched_over = Some(args.config_root.join(unattended::SWITCH));
        return;
    } else {
        match unattended::switch_over(&args.config_root, args.apt_config.as_deref()).await {
            Ok(file) => {
                document.switched_over = Some(file);
                document.still_on = false;
                return;
            }
            Err(error) => chain(&error),
        }
    };
    document.not_switched_over = Some(why);
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let would = if document.dry_run { "would be" } else { "is" };
    if let Some(DropIn { file, toml }) = &document.drop_in {
        let _ = writeln!(text, "{} {would} written:\n", file.display());
        for line in toml.lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
    let (open, rest): (Vec<_>, Vec<_>) = document.left.iter().partition(|left| left.blocks);
    for (title, left) in [
        ("Nothing is written before you have settled, in /etc/lockkeeper:", open),
        ("Not carried over:", rest),
    ] {
        if !left.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}{title}");
        }
        for Left { option, why, .. } in left {
            let _ = writeln!(text, "  {option}\n      {why}");
        }
    }
    if document.drop_in.is_none() && document.left.is_empty() {
        return "nothing to migrate: unattended-upgrades is not configured here\n".to_owned();
    }
    text.push('\n');
    text.push_str(&standing(document));
    if !document.dry_run && document.drop_in.is_some() {
        text.push_str("Let the agent read it: systemctl reload lockkeeperd\n");
    }
    text
}

/// What becomes of unattended-upgrades.
fn standing(document: &Document) -> String {
    if let Some(file) = &document.switched_over {
        let file = file.display();
        return if document.dry_run {
            format!("{file} would be written, and unattended-upgrades run no more.\n")
        } else {
            format!("unattended-upgrades runs no more. To have it back: rm {file}\n")
        };
    }
    let not = document.not_switched_over.as_ref();
    let mut text = not.map_or_else(String::new, |why| format!("Not switched over: {why}.\n"));
    text.push_str(match (document.still_on, document.off || document.drop_in.is_none()) {
        (false, _) => "unattended-upgrades does not run here.\n",
        (true, true) => "unattended-upgrades goes on to install updates here, as before.\n",
        (true, false) => {
            "unattended-upgrades goes on to run beside lockkeeper, without a slot, a window or a way \
             back: run this with --switch-over when you are content with the above.\n"
        }
    });
    text
}
