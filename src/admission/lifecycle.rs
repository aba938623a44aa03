//! Nothing is made in a namespace that is not there or is going.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::{Cause, Status};

/// Namespaces without which the cluster does not work.
const PROTECTED: &[&str] = &["default", "kube-system", "kube-public"];

pub(super) fn admit(world: &World, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
    if request.resource.group.is_empty() && request.resource.plural == "namespaces" {
        let protected = request.operation == Operation::Delete
            && request.subresource.is_empty()
            && PROTECTED.contains(&request.name);
        return match protected {
            true => Err(request.forbidden("this namespace may not be deleted")),
            false => Ok(()),
        };
    }
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    // One may ask what one may do in a namespace that is not there.
    let asks = request.is("authorization.k8s.io", "localsubjectaccessreviews", "");
    if request.namespace.is_empty() || !writes || asks {
        return Ok(());
    }
    let namespace = request.namespace;
    let Some(found) = world.find(("", "namespaces"), "", namespace) else {
        return Err(Status::not_found("", "namespaces", namespace));
    };
    if request.operation == Operation::Create && found.header.deleting {
        return Err(terminating(request, namespace));
    }
    Ok(())
}

/// The refusal by whose cause controllers know that trying again is no use.
fn terminating(request: &AdmissionRequest<'_>, namespace: &str) -> Status {
    let mut status = request.forbidden(&format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    ));
    if let Some(details) = &mut status.details {
        details.causes.push(Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        });
    }
    status
}
