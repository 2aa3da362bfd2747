//! etcd
/// etcd
#[derive(Clone, Debug)]
pub struct EtcdStore;
