//! The shipped resources, as the real nginx and haproxy see what is made of them.

use std::fs;
use std::path::{Path, PathBuf};

use lockkeeper::adapters::confd::{Delivered, deliver};
use lockkeeper::config::confd::{Resource, load};
use lockkeeper::core::template::Keys;

/// A copy of what is shipped, which writes into its own folder and reloads nothing.
struct Bench {
    dir: tempfile::TempDir,
    resources: Vec<Resource>,
}

impl Bench {
    fn new() -> Self {
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("units/usr/share/lockkeeper/confd");
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().display().to_string();
        for folder in ["conf.d", "templates"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
            for file in fs::read_dir(shipped.join(folder)).unwrap() {
                let file = file.unwrap().path();
                let text = fs::read_to_string(&file).unwrap();
                let text = text
                    .replace("/usr/share/lockkeeper/confd", &shipped.display().to_string())
                    .replace("/etc/nginx/conf.d", &own)
                    .replace("/etc/haproxy", &own)
                    .replace("systemctl try-reload-or-restart", &format!("echo >> {own}/reloads"));
                fs::write(dir.path().join(folder).join(file.file_name().unwrap()), text).unwrap();
            }
        }
        fs::write(dir.path().join("haproxy.cfg"), HAPROXY).unwrap();
        let (resources, bad) = load(dir.path(), None).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        Self { dir, resources }
    }

    fn resource(&self, name: &str) -> &Resource {
        let named = |resource: &&Resource| resource.file.file_stem().is_some_and(|s| s == name);
        self.resources.iter().find(named).unwrap()
    }

    fn made(&self, name: &str) -> String {
        fs::read_to_string(&self.resource(name).dest).unwrap()
    }

    fn reloads(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("reloads")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn hidden(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with('.')).collect()
    }
}

const HAPROXY: &str = "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    \
    timeout server 1s\nfrontend all\n    bind 127.0.0.1:8080\n    default_backend web\n";

fn keys(services: [&str; 3]) -> Keys {
    let node = |(index, service): (usize, &str)| {
        let address = ["192.0.2.1", "[2001:db8::2]", "127.0.0.1"][index];
        let node = ["ab01", "cd23", "ef45"][index];
        let key = |kind: &str, value: &str| (format!("/{kind}/{node}"), value.to_owned());
        [
            key("service", service),
            key("address", address),
            key("name", &format!("web-{}", index + 1)),
        ]
    };
    services.into_iter().enumerate().flat_map(node).collect()
}

#[tokio::test]
async fn nginx_takes_the_nodes_in_service_and_never_none() {
    let bench = Bench::new();
    let nginx = bench.resource("nginx");
    let some = keys(["in-service", "in-service", "draining"]);
    assert_eq!(deliver(nginx, &some).await.unwrap(), Delivered::New);
    let made = bench.made("nginx");
    let expected = "upstream web {\n    server 192.0.2.1:8080; # web-1\n    \
        server [2001:db8::2]:8080; # web-2\n    # web-3 is left out (draining)\n}\n";
    assert!(made.ends_with(expected), "{made}");
    assert_eq!(deliver(nginx, &some).await.unwrap(), Delivered::Same);
    assert_eq!(bench.reloads(), ["nginx.service"]);

    let error = deliver(nginx, &keys(["down", "draining", "draining"])).await.unwrap_err();
    let said = lockkeeper::observe::logging::chain(&error);
    assert!(said.contains("check_cmd failed") && said.contains("no servers are inside"), "{said}");
    assert_eq!((bench.made("nginx"), bench.reloads().len()), (made, 1));
    assert_eq!(bench.hidden(), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn haproxy_takes_the_nodes_in_service_and_never_none() {
    let bench = Bench::new();
    let haproxy = bench.resource("haproxy");
    deliver(haproxy, &keys(["down", "in-service", "in-service"])).await.unwrap();
    let made = bench.made("haproxy");
    let expected = "backend web\n    # web-1 is left out (down)\n    \
        server cd23 [2001:db8::2]:8080 check # web-2\n    server ef45 127.0.0.1:8080 check # web-3\n";
    assert!(made.ends_with(expected), "{made}");
    assert_eq!(bench.reloads(), ["haproxy.service"]);
    deliver(haproxy, &keys(["down"; 3])).await.unwrap_err();
    assert_eq!((bench.made("haproxy"), bench.reloads().len()), (made, 1));
}

#[tokio::test]
async fn a_node_that_has_not_said_where_it_is_reached_is_left_out() {
    let bench = Bench::new();
    let nodes = [("/service/ab01", "in-service"), ("/service/cd23", "in-service")];
    let told = [("/address/ab01", "192.0.2.1")];
    let keys = nodes.into_iter().chain(told).map(|(k, v)| (k.to_owned(), v.to_owned()));
    deliver(bench.resource("nginx"), &keys.collect()).await.unwrap();
    let made = bench.made("nginx");
    assert!(made.contains("server 192.0.2.1:8080; # ab01"), "{made}");
    assert!(made.contains("# cd23 is left out"), "{made}");
}
