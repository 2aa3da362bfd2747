//! The end of what a program says: read while it runs, so that it never waits for us.

use std::{
    io::{self, PipeWriter},
    os::fd::OwnedFd,
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, task::JoinHandle, time::timeout};

use crate::adapters::command;

/// Kept of its output.
const KEPT: usize = 8 << 10;
/// Lines, and characters of them, that fit into a sentence.
const LINES: usize = 3;
const LETTERS: usize = 300;
/// What it has started may hold its output open; its own words are read by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// Reads an output.
pub(super) struct Tail {
    kept: watch::Receiver<Vec<u8>>,
    reading: JoinHandle<()>,
}

impl Tail {
    /// Begins to read what is written into the answer's second part.
    pub fn begin() -> io::Result<(Self, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let (sender, kept) = watch::channel(Vec::new());
        Ok((Self { kept, reading: tokio::spawn(read(reader, sender)) }, writer))
    }

    /// The end of what was written.
    pub async fn end(mut self) -> String {
        let _ = timeout(PATIENCE, &mut self.reading).await;
        printable(&String::from_utf8_lossy(&self.kept.borrow()))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut reader: pipe::Receiver, kept: watch::Sender<Vec<u8>>) {
    let mut buffer = vec![0; KEPT];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        kept.send_modify(|kept| {
            kept.extend_from_slice(&buffer[..count]);
            kept.drain(..kept.len().saturating_sub(KEPT));
        });
    }
}

/// Without what could move a terminal's cursor.
fn printable(text: &str) -> String {
    let odd = |letter: char| letter.is_control() && letter != '\n';
    text.chars().map(|letter| if odd(letter) { ' ' } else { letter }).collect()
}

/// The last lines, as they fit into a sentence.
pub(super) fn last_lines(text: &str) -> String {
    let lines = command::last_lines(text, LINES);
    let over = lines.chars().count().saturating_sub(LETTERS);
    if over == 0 {
        return lines;
    }
    format!("…{}", lines.chars().skip(over + 1).collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_long_output_is_kept_and_nobody_waits() {
        let (tail, mut writer) = Tail::begin().unwrap();
        let writing = tokio::task::spawn_blocking(move || {
            for _ in 0..100 {
                writer.write_all(&[b'x'; 10_000]).unwrap();
            }
            writer.write_all(b"\nthe \x1b[31mend\n").unwrap();
        });
        writing.await.unwrap();
        let said = tail.end().await;
        assert!(said.len() == KEPT && said.ends_with("x\nthe  [31mend\n"), "{said}");
    }

    #[tokio::test]
    async fn an_output_that_is_held_open_is_not_waited_for() {
        let (tail, mut writer) = Tail::begin().unwrap();
        writer.write_all(b"said").unwrap();
        assert_eq!(tail.end().await, "said");
        drop(writer);
    }

    #[test]
    fn a_sentence_takes_a_few_short_lines() {
        assert_eq!(last_lines("a\nb\n c \n\nd\n"), "b; c; d");
        let long = last_lines(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), LETTERS);
        assert!(long.starts_with('…'));
    }
}
