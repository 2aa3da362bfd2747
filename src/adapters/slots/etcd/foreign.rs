//! Values of other programs in etcd v3.

use std::collections::BTreeMap;

use etcd_client::GetOptions;

use super::{StoreError, access::Access, client::Pool};

/// All values whose keys begin with `prefix`, of one moment. What is not UTF-8 is made so.
///
/// # Errors
/// When etcd cannot be reached or used.
pub async fn read(access: &Access, prefix: &str) -> Result<BTreeMap<String, String>, StoreError> {
    let found = Pool::new(access).get(prefix, GetOptions::new().with_prefix()).await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(found.kvs().iter().map(|kv| (text(kv.key()), text(kv.value()))).collect())
}
