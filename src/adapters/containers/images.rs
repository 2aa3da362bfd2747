//! Images: those that running containers name, pulled, and tagged.

use std::time::Duration;

use bollard::{
    errors::Error as ApiError,
    query_parameters::{CreateImageOptionsBuilder, TagImageOptionsBuilder},
};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{Client, ContainerError};
use crate::core::image::{Named, Tag};

/// A registry that says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(300);

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Its id, without the digest's name.
    pub id: String,
    /// Where it came from: `repository@digest`.
    pub digests: Vec<String>,
}

impl Client {
    /// What the running containers name, and which image each of them runs.
    pub async fn named(&self) -> Result<Vec<Named>, ContainerError> {
        let mut seen = Vec::new();
        for id in self.list(&["running"]).await?.into_iter().filter_map(|row| row.id) {
            let answer = match self.api.inspect_container(&id, None).await {
                Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => continue,
                answer => answer.map_err(self.failed(&format!("inspect {id}")))?,
            };
            let name = answer.name.unwrap_or_default().trim_start_matches('/').to_owned();
            let reference = answer.config.and_then(|config| config.image);
            if let (Some(reference), Some(image)) = (reference, answer.image) {
                seen.push((name, reference, bare(&image)));
            }
        }
        Ok(Named::group(seen))
    }

    /// The image that a name stands for; `None` when there is none.
    pub async fn image(&self, reference: &str) -> Result<Option<Here>, ContainerError> {
        match self.api.inspect_image(reference).await {
            Ok(image) => Ok(image
                .id
                .map(|id| Here { id: bare(&id), digests: image.repo_digests.unwrap_or_default() })),
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {reference}"))(error)),
        }
    }

    /// The id of the image that a container runs; `None` when there is no such container.
    pub async fn image_of(&self, container: &str) -> Result<Option<String>, ContainerError> {
        match self.api.inspect_container(container, None).await {
            Ok(answer) => Ok(answer.image.as_deref().map(bare)),
            Err(ApiError::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.failed(&format!("inspect {container}"))(error)),
        }
    }

    /// Pulls what a registry has by a name, which stands for that then.
    pub async fn pull(&self, tag: &Tag<'_>) -> Result<(), ContainerError> {
        let options = CreateImageOptionsBuilder::new().from_image(tag.repository).tag(tag.tag);
        let api = self.api.clone().with_timeout(SILENCE);
        let mut said = std::pin::pin!(api.create_image(Some(options.build()), None, None));
        let what = format!("pull {}:{}", tag.repository, tag.tag);
        loop {
            match timeout(SILENCE, said.next()).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.failed(&what)(error)),
                Ok(None) => return Ok(()),
                Err(_) => return Err(self.failed(&what)(ApiError::RequestTimeoutError)),
            }
        }
    }

    /// Has a name stand for an image that is here.
    pub async fn tag(&self, id: &str, tag: &Tag<'_>) -> Result<(), ContainerError> {
        let options = TagImageOptionsBuilder::new().repo(tag.repository).tag(tag.tag).build();
        let what = format!("tag {id} as {}:{}", tag.repository, tag.tag);
        self.api.tag_image(id, Some(options)).await.map_err(self.failed(&what))
    }
}

/// Podman shows an id with the digest's name in one place, and without it in another.
fn bare(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).to_owned()
}
