//! An engine on a socket, for tests: what it answers is up to them, and what it was asked can be read.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

/// The first lines of all requests so far.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// What is said to a request, by its first line: status and body, or, with none, nothing ever.
pub type Answer = fn(&str) -> Option<(u16, &'static str)>;

/// Answers at `socket` for as long as the test lives.
pub fn serve(socket: &Path, answer: Answer) -> Asked {
    let (listener, asked) = (UnixListener::bind(socket).unwrap(), Asked::default());
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = Arc::clone(&log);
            thread::spawn(move || talk(stream, answer, &log));
        }
    });
    asked
}

fn talk(mut stream: UnixStream, answer: Answer, log: &Asked) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]);
        let line = text.lines().next().unwrap_or_default().to_owned();
        log.lock().unwrap().push(line.clone());
        let Some((status, body)) = answer(&line) else { continue };
        let head = format!("HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n");
        let rest = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all((head + &rest).as_bytes());
    }
}
