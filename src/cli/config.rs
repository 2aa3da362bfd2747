//! `rebootctl config check` and `rebootctl config show`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::config::{self, ConfigErrors, Effective, Loaded};

/// Origins are aligned behind lines up to this many characters.
const WIDEST: usize = 60;

/// Look at the configuration
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The verbs of `rebootctl config`.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Say whether the configuration is good; every mistake with file, line and column
    Check(CheckArgs),
    /// Print every key with the value that counts
    Show(ShowArgs),
}

/// Arguments of `config check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Check this file alone, over the built-in values, instead of this machine's files
    pub file: Option<PathBuf>,
}

/// Arguments of `config show`.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Say behind each value which file and line it comes from
    #[arg(long)]
    pub origin: bool,
    /// Print JSON, always with the origins
    #[arg(long)]
    pub json: bool,
}

/// Runs `rebootctl config` for the machine whose root directory is `root`. Answers go to `out`,
/// mistakes in the configuration to `err`.
///
/// # Returns
/// The exit code: 0, or [`config::EXIT_CODE`].
pub fn run(
    args: &ConfigArgs,
    root: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    match &args.command {
        ConfigCommand::Check(args) => {
            let loaded = match &args.file {
                Some(file) => config::load_file(file),
                None => config::load(root),
            };
            check(&loaded, out, err)
        }
        ConfigCommand::Show(args) => match config::load(root) {
            Ok(loaded) if args.json => show_json(&loaded, out),
            Ok(loaded) => show(args, &loaded.keys, out),
            Err(errors) => complain(&errors, err),
        },
    }
}

/// Prints the mistakes, one a line, and how many there are.
pub(super) fn complain(errors: &ConfigErrors, err: &mut dyn Write) -> io::Result<u8> {
    writeln!(err, "{errors}")?;
    match errors.0.len() {
        1 => writeln!(err, "1 error in the configuration")?,
        count => writeln!(err, "{count} errors in the configuration")?,
    }
    Ok(config::EXIT_CODE)
}

fn check(
    loaded: &Result<Loaded, ConfigErrors>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<u8> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return complain(errors, err),
    };
    for file in &loaded.files {
        writeln!(out, "{}: read", file.display())?;
    }
    if loaded.files.is_empty() {
        writeln!(out, "no configuration file: the built-in values count")?;
    }
    let settings = &loaded.settings;
    writeln!(
        out,
        "good: strategy {}, group {}, {}, {}",
        settings.strategy.name(),
        settings.lock.groups.join("+"),
        count(settings.schedule.windows.len(), "window"),
        count(settings.schedule.freezes.len(), "freeze"),
    )?;
    Ok(0)
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn show(args: &ShowArgs, keys: &[Effective], out: &mut dyn Write) -> io::Result<u8> {
    let lines: Vec<String> = keys.iter().map(line).collect();
    let widths = lines.iter().map(|line| line.chars().count());
    let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for (line, effective) in lines.iter().zip(keys) {
        if args.origin {
            writeln!(out, "{line:width$}  # {}", effective.origin)?;
        } else {
            writeln!(out, "{line}")?;
        }
    }
    Ok(0)
}

fn line(effective: &Effective) -> String {
    format!("{} = {}", effective.key, toml_value(&effective.value))
}

/// JSON's strings are TOML's too; lists get the space that TOML is written with.
fn toml_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_string(),
    }
}

fn show_json(loaded: &Loaded, out: &mut dyn Write) -> io::Result<u8> {
    let keys: Vec<Value> = loaded.keys.iter().map(key_json).collect();
    let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    let shown = json!({ "schema": 1, "files": files, "keys": keys });
    writeln!(out, "{shown:#}")?;
    Ok(0)
}

fn key_json(effective: &Effective) -> Value {
    let mut shown = json!({
        "key": effective.key,
        "value": effective.value,
        "origin": effective.origin.to_string(),
    });
    if let (Some(place), Value::Object(shown)) = (effective.origin.place(), &mut shown) {
        shown.insert("file".to_owned(), json!(place.file.display().to_string()));
        shown.insert("line".to_owned(), json!(place.line));
    }
    shown
}
