//! Our own program as a process of a user: in a unit of its own, with the user's rights and a fence
//! around it, ended at a limit. What it answers is read within bounds.

use std::{io, os::fd::OwnedFd, path::Path, time::Duration};

use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};
use zbus::Connection;

use super::systemd::oneshot::{self, Oneshot, OneshotError};

/// The word it is started with.
pub const VERB: &str = "as-user";
/// No answer is longer.
const LONGEST: u64 = 1 << 20;
/// What it has started may hold its output open; its own words are read by then.
const PATIENCE: Duration = Duration::from_secs(1);

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] OneshotError),
    /// It ended in another way than by answering.
    #[error("{unit} ended without an answer: {word} (its journal may say why)")]
    Ended {
        /// Its unit.
        unit: String,
        /// As systemd says it.
        word: String,
    },
    /// It said more than anybody asked for, or no text.
    #[error("the answer of {unit} is too long, or no text")]
    Unfit {
        /// Its unit.
        unit: String,
    },
}

/// Who is asked, and how long it may take.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its unit: callers see to it that there is only one of a name at a time.
    pub unit: &'a str,
    /// [`Path`] of our own program.
    pub program: &'a Path,
    /// The user's number.
    pub uid: u32,
    /// All its processes are ended after this long.
    pub limit: Duration,
}

/// Hands `order` to a process of the user; its answer, which is the user's word.
pub async fn ask(bus: &Connection, asked: &Asked<'_>, order: &[u8]) -> Result<String, AskError> {
    let Asked { unit, program, uid, limit } = asked;
    let (reader, writer) = io::pipe().map_err(OneshotError::io(unit))?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader));
    let reader = reader.map_err(OneshotError::io(unit))?;
    let reading = tokio::spawn(read(reader));
    let program = program.to_string_lossy();
    let oneshot = Oneshot {
        name: unit,
        description: "lockkeeper: what a user runs without root",
        argv: &[&program, VERB],
        environment: &["LC_ALL=C.UTF-8"],
        limit: *limit,
        user: Some(*uid),
    };
    let ended = oneshot::run(bus, &oneshot, order, writer).await;
    let unfit = || AskError::Unfit { unit: (*unit).to_owned() };
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => {
            reading.abort();
            return Err(error.into());
        }
    };
    if ended.word != "success" {
        reading.abort();
        return Err(AskError::Ended { unit: (*unit).to_owned(), word: ended.word });
    }
    let abort = reading.abort_handle();
    let Ok(Ok(Ok(answer))) = timeout(PATIENCE, reading).await else {
        abort.abort();
        return Err(unfit());
    };
    if answer.len() as u64 > LONGEST {
        return Err(unfit());
    }
    String::from_utf8(answer).map_err(|_| unfit())
}

/// Not more than would be too long already: whoever goes on writing meets a closed pipe.
async fn read(reader: pipe::Receiver) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    reader.take(LONGEST + 1).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn an_endless_answer_is_read_to_its_bound_only() {
        let (reader, mut writer) = io::pipe().unwrap();
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).unwrap();
        let flood = std::thread::spawn(move || {
            let chunk = vec![b'x'; 1 << 16];
            while writer.write_all(&chunk).is_ok() {}
        });
        let answer = read(reader).await.unwrap();
        assert_eq!(answer.len() as u64, LONGEST + 1);
        // The writer met a closed pipe.
        flood.join().unwrap();
    }
}
