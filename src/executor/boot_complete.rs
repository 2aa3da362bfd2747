//! systemd's own verdict on a boot: whether boot-complete.target is reached.
//!
//! Nothing need pull it in, and then nobody would ever reach it: it is started where that has not been
//! tried. What is required for it is not tried again once it has failed: that is the admin's to mend, and
//! others may act on each failure.

use std::time::Duration;

use super::Context;
use crate::{
    adapters::systemd::{SystemdError, jobs::Started},
    core::{
        check::{Answer, Finding},
        record::Unit,
    },
    observe::logging::chain,
};

const TARGET: &str = "boot-complete.target";
/// Ours, by which the target waits for this very verdict.
const OWN: &str = "lockkeeper-boot-complete.service";
/// What is required may take this long; then another look sees what has come of it.
const STARTING: Duration = Duration::from_secs(60);

/// What it says of the node.
pub(super) async fn look(context: &Context) -> Finding {
    let answer = match answer(context).await {
        Ok(answer) => answer,
        Err(error) => Answer::Unable(format!("{TARGET} cannot be looked at: {}", chain(&error))),
    };
    Finding { name: TARGET.to_owned(), required: true, answer }
}

async fn answer(context: &Context) -> Result<Answer, SystemdError> {
    let systemd = &context.systemd;
    let target = systemd.unit(TARGET).await?;
    let required = systemd.required(TARGET).await?;
    if required.iter().any(|name| name == OWN) {
        return Ok(Answer::Unable(format!(
            "{TARGET} waits for lockkeeper ({OWN} is enabled), and lockkeeper for it \
             (verify.boot_complete): one of the two has to go"
        )));
    }
    let failed =
        systemd.units(&required).await?.into_values().filter(|unit| unit.active == "failed");
    let failed: Vec<String> =
        failed.map(|Unit { name, result, .. }| format!("{name} is failed ({result})")).collect();
    Ok(match stand(&target, &failed) {
        Stand::Reached => Answer::Good,
        Stand::Not(why) => not_reached(&why),
        Stand::Untried => begin(context).await?,
    })
}

fn not_reached(why: &str) -> Answer {
    Answer::Bad(format!("{TARGET} is not reached: {why}"))
}

/// How far the target is.
#[derive(Debug, PartialEq, Eq)]
enum Stand {
    Reached,
    Not(String),
    /// Nobody has asked for it, and nothing speaks against it.
    Untried,
}

fn stand(target: &Unit, failed: &[String]) -> Stand {
    match target.active.as_str() {
        "active" => Stand::Reached,
        _ if target.load != "loaded" => Stand::Not(format!("it is {}", target.load)),
        _ if !failed.is_empty() => Stand::Not(failed.join(", ")),
        "inactive" if !target.busy => Stand::Untried,
        _ => Stand::Not("what it requires is still being started".to_owned()),
    }
}

async fn begin(context: &Context) -> Result<Answer, SystemdError> {
    let names = [TARGET.to_owned()];
    let end = context.systemd.start(&names, STARTING).await?.remove(TARGET);
    Ok(match end {
        Some(Started::Done) => Answer::Good,
        Some(end) => not_reached(&end.to_string()),
        None => not_reached(&Started::Late.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_only_begun_where_nothing_speaks_against_it() {
        let target = |active: &str, busy| Unit {
            name: TARGET.to_owned(),
            load: "loaded".to_owned(),
            active: active.to_owned(),
            busy,
            ..Unit::default()
        };
        let failed = ["a.service is failed (exit-code)".to_owned()];
        assert_eq!(stand(&target("active", false), &failed), Stand::Reached);
        assert_eq!(stand(&target("inactive", false), &[]), Stand::Untried);
        assert_eq!(
            stand(&target("inactive", false), &failed),
            Stand::Not("a.service is failed (exit-code)".to_owned())
        );
        let still = Stand::Not("what it requires is still being started".to_owned());
        assert_eq!(stand(&target("inactive", true), &[]), still);
        let masked = Unit { load: "masked".to_owned(), ..target("inactive", false) };
        assert_eq!(stand(&masked, &[]), Stand::Not("it is masked".to_owned()));
    }
}
