//! The lock over HTTP, as nodes that speak `FleetLock` use it: `lockkeeper-hub` on a thread of its own.

use std::thread;

use anyhow::{Result, bail};
use lockkeeper::adapters::slots::SlotStore;
use lockkeeper::adapters::slots::etcd::{Access, EtcdStore};
use lockkeeper::adapters::slots::fleetlock::wire;
use reqwest::StatusCode;

use crate::Lock;
use crate::hub::{RULES, serve};
use crate::ours::REQUEST_TIMEOUT;

/// Serves the semaphores in the etcd at `endpoint` until the end of the process; answers its URL.
pub async fn hub(endpoint: &str) -> Result<String> {
    let store = EtcdStore::new(&Access::open(&[endpoint.to_owned()], REQUEST_TIMEOUT), "/hub");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, told) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        runtime.block_on(async {
            let _ = tell.send(serve(SlotStore::Etcd(store), RULES).await);
            std::future::pending::<()>().await;
        });
    });
    Ok(told.await?)
}

/// One node, over a kept connection.
pub struct Client {
    http: reqwest::Client,
    url: String,
    body: String,
}

impl Client {
    pub fn new(url: &str, group: &str, node: &str) -> Result<Self> {
        // As the agent's own client does.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build()?;
        let body = format!(r#"{{"client_params":{{"id":"{node}","group":"{group}"}}}}"#);
        Ok(Self { http, url: url.to_owned(), body })
    }

    /// Asks for a slot while another node has it.
    pub async fn refused(&mut self) -> Result<()> {
        match self.post(wire::PRE_REBOOT).await? {
            StatusCode::LOCKED => Ok(()),
            status => bail!("a lock that somebody holds: {status}"),
        }
    }

    async fn post(&self, path: &str) -> Result<StatusCode> {
        let url = format!("{}{path}", self.url);
        let request = self.http.post(url).header("fleet-lock-protocol", "true");
        let answer = request.body(self.body.clone()).send().await?;
        let status = answer.status();
        answer.bytes().await?;
        Ok(status)
    }
}

impl Lock for Client {
    async fn acquire(&mut self) -> Result<()> {
        match self.post(wire::PRE_REBOOT).await? {
            StatusCode::OK => Ok(()),
            status => bail!("lock: {status}"),
        }
    }

    async fn release(&mut self) -> Result<()> {
        match self.post(wire::STEADY_STATE).await? {
            StatusCode::OK => Ok(()),
            status => bail!("unlock: {status}"),
        }
    }
}
