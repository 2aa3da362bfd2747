//! One version in two archives, of which one is not wanted.

use std::fs;

use lockkeeper::{config::settings::Packages, core::choice::Origins, dbus::executor::CheckReport};

use crate::{
    archive::{Archive, Package},
    check_by,
    system::System,
};

fn says(origin: &str) -> [(&str, &str); 3] {
    [("Origin", origin), ("Label", origin), ("Suite", "stable")]
}

/// What a check finds where only Debian's archive is wanted, and a vendor's has the same version in
/// another file; by the order of the sources. With the index of Debian's.
async fn found(twin: &Package, vendor_first: bool) -> (CheckReport, String) {
    let debian = Archive::that_says(&says("Debian"), &[Package::new("own", "1.0")]);
    let system = System::with(&debian, &["own"]);
    debian.publish(&[Package::new("own", "1.1")]);
    let vendor = Archive::that_says(&says("Vendor"), std::slice::from_ref(twin));
    system.add("vendor", &vendor);
    if vendor_first {
        fs::remove_file(system.root().join("etc/apt/sources.list.d/vendor.list")).unwrap();
        system.write("etc/apt/sources.list", &(vendor.source() + &debian.source()));
    }
    let wanted = |packages: &mut Packages| {
        packages.origins = Origins::Patterns(vec!["o=Debian".to_owned()]);
    };
    let report = check_by(&system.layout, wanted).await.unwrap();
    (report, fs::read_to_string(debian.path().join("Packages")).unwrap())
}

#[tokio::test]
async fn a_file_comes_from_a_wanted_archive_though_another_has_the_same_version() {
    for twin in [
        // apt counts it as another version, by its dependencies.
        Package::new("own", "1.1").field("Conflicts", "x"),
        Package::new("own", "1.1").file("usr/share/more", b"more"),
        // Not even its size tells it apart.
        Package::new("own", "1.1").file("usr/share/own/version", b"bad"),
    ] {
        let (report, index) = found(&twin, false).await;
        let plan = report.plan.expect("Debian's");
        assert!(index.contains(&plan.packages[0].sha256), "{plan:?}");

        let (report, _) = found(&twin, true).await;
        assert_eq!(report.plan, None, "the vendor's would be taken");
        let [kept] = &report.kept_back[..] else { panic!("{report:?}") };
        assert_eq!((kept.name.as_str(), kept.why.code.as_str()), ("own", "origin"));
        assert!(kept.why.text.contains("name its source before the others"), "{kept:?}");
    }
}
