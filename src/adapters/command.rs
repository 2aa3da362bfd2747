//! Running other programs: fixed environment, no stdin, captured output, one error type.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
};

/// A program that could not be run, or that said no.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot run {program}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with a bad status.
    #[error("{program} ended with {status}: {stderr}")]
    Status {
        /// Which.
        program: String,
        /// `exit status: 100`, `signal: 9 (SIGKILL)`.
        status: String,
        /// The last lines of its standard error, or of its output when that is empty.
        stderr: String,
    },
}

/// A program to run: absolute environment, standard input closed, output captured.
#[derive(Debug)]
pub struct Command {
    program: String,
    inner: tokio::process::Command,
}

impl Command {
    /// `program` is looked up in the fixed system path only.
    #[must_use]
    #[allow(clippy::disallowed_methods)] // this is the adapter
    pub fn new(program: &str) -> Self {
        let mut inner = tokio::process::Command::new(program);
        inner
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", "/root")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self { program: program.to_owned(), inner }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.inner.args(args);
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(key, value);
        self
    }

    /// Runs in another directory.
    #[must_use]
    pub fn current_dir(mut self, dir: &Path) -> Self {
        self.inner.current_dir(dir);
        self
    }

    /// Starts it, and lets `next` read what it prints. How it ends is not seen: `next` is the one to
    /// notice that something is missing.
    pub fn pipe(mut self, mut next: Self) -> Result<Self, CommandError> {
        let start = |source| CommandError::Start { program: self.program.clone(), source };
        self.inner.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = self.inner.spawn().map_err(start)?;
        let output = child.stdout.take().map(TryInto::<Stdio>::try_into);
        if let Some(output) = output {
            next.inner.stdin(output.map_err(start)?);
        }
        // When its reader is gone, so is it.
        tokio::spawn(async move { child.wait().await });
        Ok(next)
    }

    /// Runs it to its end and returns what it printed.
    pub async fn output(self) -> Result<String, CommandError> {
        let program = self.program.clone();
        let done = self.finish().await?;
        if done.status.success() {
            return Ok(done.stdout);
        }
        let stderr = last_lines(done.said(), 5);
        Err(CommandError::Status { program, status: done.status.to_string(), stderr })
    }

    /// Runs it to its end, whatever its status: for programs whose words matter when they say no.
    pub async fn finish(mut self) -> Result<Finished, CommandError> {
        let out = self.inner.output().await;
        let out =
            out.map_err(|source| CommandError::Start { program: self.program.clone(), source })?;
        Ok(Finished {
            status: out.status,
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        })
    }

    /// Runs it to its end on its own: output into `log` (no pipe to us that could break), in its own
    /// process group, and not killed with us. For work that must not be cut off half-way.
    pub async fn run_apart(mut self, log: &File) -> Result<ExitStatus, CommandError> {
        let start = |source| CommandError::Start { program: self.program.clone(), source };
        let handles = || io::Result::Ok((log.try_clone()?, log.try_clone()?));
        let (out, err) = handles().map_err(start)?;
        self.inner.stdout(out).stderr(err).process_group(0).kill_on_drop(false);
        self.inner.status().await.map_err(start)
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Its standard error, or its output when that is empty.
    #[must_use]
    pub fn said(&self) -> &str {
        if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr }
    }
}

/// The last `count` non-empty lines, joined with `; `.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("; ")
}
