//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::Duration;

/// How long a condition may take to come true on a machine that has much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub async fn eventually<T, F, Fut>(what: &str, ask: F) -> T
where
    F: Fn() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let asked = async {
        loop {
            if let Some(answer) = Box::pin(ask()).await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, asked).await
}

/// The outcome of `future`.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let outcome = tokio::time::timeout(PATIENCE, Box::pin(future)).await;
    outcome.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
