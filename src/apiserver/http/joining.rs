//! The one path by which a machine becomes a node.
//!
//! What joining means is the server's business: whoever keeps its keys stands behind [`Door`].

use async_trait::async_trait;
use http::Response;

use super::body::Body;
use super::{Front, Upload, input, output};
use crate::api::status::Status;
use crate::api::tree::Value;
use crate::auth::policy::JOIN_PATH;
use crate::auth::{Attributes, UserInfo};

/// Lets nodes in.
#[async_trait]
pub trait Door: Send + Sync {
    /// Answers a machine's request. `user` may ask; whether for this node is decided here.
    ///
    /// # Errors
    /// Why it is not let in, in words that help whoever runs it.
    async fn join(&self, user: &UserInfo, request: Value) -> Result<Value, Status>;
}

impl Front {
    /// Answers a request to join.
    pub(super) async fn join(
        &self,
        user: &UserInfo,
        body: Upload,
    ) -> Result<Response<Body>, Status> {
        self.engine.authorize(&Attributes::path(user, "post", JOIN_PATH))?;
        let door = self.door.as_ref().ok_or_else(Status::no_such_path)?;
        let body = input::read(body).await?;
        let request = Value::parse(&body).map_err(|e| Status::bad_request(e.to_string()))?;
        Ok(output::json(200, &door.join(user, request).await?))
    }
}
