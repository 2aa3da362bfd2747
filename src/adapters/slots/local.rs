//! local
/// local
#[derive(Clone, Debug)]
pub struct LocalStore;
