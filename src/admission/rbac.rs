//! Nobody may hand out more than they hold.

use super::plugins::World;
use super::{AdmissionRequest, Operation};
use crate::api::status::Status;
use crate::auth::{escalation, rbac};

pub(super) fn validate(world: &World, request: &AdmissionRequest<'_>) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if request.resource.group != rbac::GROUP || !writes {
        return Ok(());
    }
    let target = (&*request.resource.plural, request.namespace, request.object_name());
    let check = match target.0 {
        "roles" | "clusterroles" => escalation::check_role,
        "rolebindings" | "clusterrolebindings" => escalation::check_binding,
        _ => return Ok(()),
    };
    check(&world.authorization, request.user, target, request.object, request.old)
}
