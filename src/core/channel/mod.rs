//! Release channels: what a fleet should run, and when each of its nodes may.
//!
//! A channel is a signed [`listing::Listing`] of releases with their rollouts; a release is a signed
//! [`release::Release`]: for each system an exact set of packages. Who signed what is the business of
//! the adapter that reads them (TUF, <https://theupdateframework.github.io/specification/latest/>);
//! here they are data, and [`choose::choose`] is the only way to a decision.
//!
//! ```text
//! listing, releases, node, now ─► choose ─► the release to run, or why none
//! ```

pub mod allowed;
pub mod archive;
pub mod choose;
mod document;
pub mod edit;
pub mod followed;
pub mod graph;
pub mod listing;
pub mod release;
pub mod rollout;

pub use document::DocumentError;
