"""What scripts do with the Python client, against the cluster that KUBECONFIG names."""

from kubernetes import client, config, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "notes.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "notes", "singular": "note", "kind": "Note"},
        "versions": [{
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {
                "type": "object",
                "properties": {"spec": {
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                }},
            }},
        }],
    },
}


def config_maps(core):
    """Writes, conflicts, and what a watch sees of them."""
    made = core.create_namespaced_config_map("default", {
        "metadata": {"name": "py", "labels": {"by": "python"}}, "data": {"k": "1"},
    })
    made.data["k"] = "2"
    core.replace_namespaced_config_map("py", "default", made)
    try:
        core.replace_namespaced_config_map("py", "default", made)
        raise AssertionError("a lost update")
    except ApiException as refused:
        assert refused.status == 409 and "object has been modified" in refused.body, refused
    core.patch_namespaced_config_map("py", "default", {"data": {"k": "3"}})
    core.delete_namespaced_config_map("py", "default")
    seen = []
    events = watch.Watch().stream(
        core.list_namespaced_config_map, "default", label_selector="by=python",
        resource_version=made.metadata.resource_version, timeout_seconds=20)
    for event in events:
        seen.append((event["type"], event["object"].data["k"]))
        if event["type"] == "DELETED":
            break
    assert seen == [("MODIFIED", "2"), ("MODIFIED", "3"), ("DELETED", "3")], seen


def custom_objects(api):
    """A kind of its own, from the definition to an object."""
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(DEFINITION)
    for event in watch.Watch().stream(
            extensions.list_custom_resource_definition, timeout_seconds=20):
        conditions = event["object"].status.conditions or []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            break
    custom = client.CustomObjectsApi(api)
    where = ("example.com", "v1", "default", "notes")
    note = {"apiVersion": "example.com/v1", "kind": "Note",
            "metadata": {"name": "n"}, "spec": {"text": "a"}}
    custom.create_namespaced_custom_object(*where, note)
    custom.patch_namespaced_custom_object(*where, "n", {"spec": {"text": "b"}})
    listed = custom.list_namespaced_custom_object(*where)
    assert [item["spec"]["text"] for item in listed["items"]] == ["b"], listed
    extensions.delete_custom_resource_definition("notes.example.com")


def pods(api, core):
    """A pod runs, is talked to, and says what it has said."""
    utils.create_from_dict(api, {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "py"},
        "spec": {"containers": [{
            "name": "main",
            "image": "guestbook/web:1",
            "command": ["sh", "-c", "echo started; sleep 600"],
        }]},
    })
    for event in watch.Watch().stream(
            core.list_namespaced_pod, "default", field_selector="metadata.name=py",
            timeout_seconds=60):
        if event["object"].status.phase == "Running":
            break
    assert core.read_namespaced_pod_log("py", "default") == "started\n"
    said = stream(core.connect_get_namespaced_pod_exec, "py", "default",
                  command=["sh", "-c", "echo hello"], stdout=True, stderr=True)
    assert said == "hello\n", said
    core.delete_namespaced_pod("py", "default", grace_period_seconds=1)


def main():
    config.load_kube_config()
    with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        version = client.VersionApi(api).get_code()
        assert (version.major, version.minor) == ("1", "37"), version
        config_maps(core)
        custom_objects(api)
        pods(api, core)
        nodes = core.list_node(limit=1).items
        assert nodes[0].status.node_info.kubelet_version, nodes
    print("done")


main()
