//! Log lines on standard error: with journald priorities under systemd, plain elsewhere.

use std::{error::Error, fmt};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter, format::Writer},
    registry::LookupSpan,
};

/// Level used when none is asked for.
pub const DEFAULT: &str = "info";

/// The logger could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("LOCKKEEPER_LOG: \"{text}\" is not a log filter (try info, debug, lockkeeper=debug)")]
    Filter {
        /// What was asked for.
        text: String,
        /// Why it is refused.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a logger already.
    #[error("logging is already set up")]
    Twice,
}

/// Sets up logging for the whole program. `filter`: the value of `LOCKKEEPER_LOG`, if any;
/// `journal`: standard error goes to journald (`JOURNAL_STREAM` is set).
pub fn init(filter: Option<&str>, journal: bool) -> Result<(), LogError> {
    let subscriber = subscriber(filter.unwrap_or(DEFAULT), journal, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)
}

/// An error and everything that caused it, outermost first, as one line: `a: b: c`. A cause that
/// the message before it repeats already is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

fn subscriber<W>(
    filter: &str,
    journal: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| LogError::Filter { text: filter.to_owned(), source })?;
    Ok(tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .event_format(Line { journal })
        .finish())
}

/// One event: `message key=value` lines, each with its priority when it goes to the journal (which
/// keeps the time itself, and takes every line for an entry of its own).
struct Line {
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let level = *event.metadata().level();
        for line in text.lines() {
            if self.journal {
                writeln!(writer, "<{}>{line}", priority(level))?;
            } else {
                writeln!(writer, "{level:>5} {line}")?;
            }
        }
        Ok(())
    }
}

/// syslog priority of a level, see `sd-daemon(3)`.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(filter: &str, journal: bool, what: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(filter, journal, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, what);
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_journal_gets_a_priority_on_every_line_and_no_time() {
        let text = written("trace", true, || {
            tracing::error!("no");
            tracing::warn!("one\ntwo");
            tracing::info!(unit = "web.service", "started");
            tracing::debug!("more");
        });
        assert_eq!(text, "<3>no\n<4>one\n<4>two\n<6>started unit=\"web.service\"\n<7>more\n");
    }

    #[test]
    fn a_person_gets_the_level_in_words() {
        let text = written("info", false, || tracing::warn!("careful"));
        assert_eq!(text, " WARN careful\n");
    }

    #[test]
    fn what_the_filter_leaves_out_is_not_written() {
        let text = written("warn,lockkeeper=info", true, || {
            tracing::info!(target: "hyper", "chatter");
            tracing::info!("ours");
            tracing::debug!("ours too, but too fine");
        });
        assert_eq!(text, "<6>ours\n");
    }

    #[test]
    fn a_wrong_filter_is_an_error_that_names_it() {
        let error = subscriber("lockkeeper=loud", true, io::stderr).err().unwrap();
        assert!(chain(&error).contains("lockkeeper=loud"), "{}", chain(&error));
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot record")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("engine: {0}")]
        struct Middle(#[source] io::Error);
        let error = Outer(Middle(io::Error::other("refused")));
        assert_eq!(chain(&error), "cannot record: engine: refused");
    }
}
