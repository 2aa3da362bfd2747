//! What an admin may have configured for apt, which does not change what is promised here.

use lockkeeper::dbus::executor::{ApplyReport, UndoReport};

use crate::{apply, changes, check, staged, system::System, undo, updated};

fn configured(system: &System, text: &str) {
    system.write("etc/apt/apt.conf.d/own", text);
}

#[tokio::test]
async fn an_archive_that_is_not_signed_is_an_error_though_apt_would_take_it() {
    let (archive, system) = updated();
    configured(
        &system,
        "Acquire::AllowInsecureRepositories \"true\";\n\
         Acquire::AllowDowngradeToInsecureRepositories \"true\";\n\
         APT::Get::AllowUnauthenticated \"true\";\n",
    );
    check(&system.layout).await.unwrap();
    archive.forge();
    let forged = check(&system.layout).await.unwrap_err().to_string();
    assert!(forged.contains(archive.path().to_str().unwrap()), "{forged}");
    std::fs::remove_file(archive.path().join("InRelease")).unwrap();
    let missing = check(&system.layout).await.unwrap_err().to_string();
    assert!(missing.contains("signed"), "{missing}");
}

#[tokio::test]
async fn a_hold_is_a_hold_and_is_shown_though_apt_is_to_ignore_it_and_to_be_quiet() {
    let (_archive, system) = updated();
    system.mark(&["hold", "gamma"]);
    configured(
        &system,
        "APT::Ignore-Hold \"true\";\nAPT::Get::allow-change-held-packages \"true\";\nquiet \"2\";\n",
    );
    let report = check(&system.layout).await.unwrap();
    let [kept] = &report.kept_back[..] else { panic!("{report:?}") };
    assert_eq!((kept.name.as_str(), kept.why.code.as_str()), ("gamma", "held"));
    let plan = staged(&system).await;
    assert_eq!(changes(&plan), ["alpha 1.0 1.1", "beta 1:1.0 1:1.1", "delta  0.1"]);
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(system.version("gamma"), "hi 1.0");
}

#[tokio::test]
async fn what_an_update_has_brought_goes_again_though_apt_is_not_to_remove() {
    let (_archive, system) = updated();
    configured(&system, "APT::Get::Remove \"false\";\n");
    let before = system.versions();
    let plan = staged(&system).await;
    assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied);
    assert_eq!(undo(&system, &plan.id).await, UndoReport::Undone);
    assert_eq!(system.versions(), before);
}

#[tokio::test]
async fn an_update_is_installed_though_apt_is_to_download_only_or_to_leave_packages_unconfigured() {
    for option in ["APT::Get::Download-Only \"true\";", "APT::Get::Simulate \"true\";"] {
        let (_archive, system) = updated();
        configured(&system, &format!("{option}\nDPkg::ConfigurePending \"false\";\n"));
        let plan = staged(&system).await;
        assert_eq!(apply(&system, &plan.id).await, ApplyReport::Applied, "{option}");
    }
}
