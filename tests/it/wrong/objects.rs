//! Objects that are broken, too large or not what they should be.

use crate::harness::Cluster;
use crate::wire::Wire;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

#[test]
fn wrong_objects_are_refused_and_harm_nobody() {
    let cluster = Cluster::start(&["--disable-agent"]);
    cluster.kubectl("wait --for=create configmap/kube-root-ca.crt --timeout=30s").ok();
    let wire = Wire::new(&cluster);
    wire.post(MAPS, r#"{"metadata":{"name":"kept"},"data":{"k":"v"}}"#).ok();
    let before = wire.get(&format!("{MAPS}/kept")).body;
    broken_texts(&wire);
    wrong_types(&wire);
    strictness(&wire);
    sizes(&wire);
    with_kubectl(&cluster);
    assert_eq!(wire.get(&format!("{MAPS}/kept")).body, before);
    assert_eq!(wire.get("/readyz").text(), "ok");
    let maps = cluster.kubectl("get configmaps -o name").ok();
    assert_eq!(maps, "configmap/kept\nconfigmap/kube-root-ca.crt\n", "nothing else was made");
}

/// A media type, a body, and a part of what is said.
const BROKEN: &[(&str, &str, &str)] = &[
    (JSON, "{", "unexpected end of JSON input"),
    (JSON, "{}}", "invalid character '}' after top-level value"),
    (JSON, "[]", "cannot unmarshal array"),
    (JSON, "\"x\"", "cannot unmarshal string"),
    (JSON, r#"{"metadata":{"name":"b"},"data":{"a":tru}}"#, "invalid character"),
    (YAML, "metadata:\n  name: b\n bad", "error converting YAML to JSON: yaml: "),
    (YAML, "metadata: {name: b", "yaml: "),
    (YAML, "a: &a [*a]", "yaml: anchor value contains itself"),
    (YAML, "metadata: {name: b}\n---\nmetadata: {name: c}\n", "there are several documents"),
];

fn broken_texts(wire: &Wire<'_>) {
    for (media_type, body, part) in BROKEN {
        let reply = wire.send("POST", MAPS, media_type, body.as_bytes());
        let said = reply.refused(400, "BadRequest");
        let begin = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: ";
        assert!(said.starts_with(begin) && said.contains(part), "{body}: {said}");
    }
    // As Go has it, what is no UTF-8 is replaced.
    let body = b"{\"metadata\":{\"name\":\"bytes\"},\"data\":{\"a\":\"\xff\"}}";
    let dry = format!("{MAPS}?dryRun=All");
    let made = wire.send("POST", &dry, JSON, body).ok();
    assert_eq!(made.at(&["data", "a"]).str(), "\u{fffd}");
    let named = b"{\"metadata\":{\"name\":\"b\xff\"}}";
    wire.send("POST", MAPS, JSON, named).refused(422, "Invalid");
    wire.send("POST", MAPS, YAML, b"metadata: {name: \"b\xff\"}").refused(400, "BadRequest");
}

/// A path, a body, and a part of what is said.
const TYPES: &[(&str, &str, &str)] = &[
    (
        MAPS,
        r#"{"metadata":{"name":"b"},"data":{"a":1}}"#,
        "cannot unmarshal number into Go struct field ConfigMap.data of type string",
    ),
    (
        MAPS,
        r#"{"metadata":{"name":"b"},"data":[]}"#,
        "cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string",
    ),
    (
        MAPS,
        r#"{"metadata":{"name":1}}"#,
        "cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
    ),
    (
        DEPLOYMENTS,
        r#"{"metadata":{"name":"b"},"spec":{"replicas":"1"}}"#,
        "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    (
        DEPLOYMENTS,
        r#"{"metadata":{"name":"b"},"spec":{"replicas":99999999999}}"#,
        "cannot unmarshal number 99999999999 into Go struct field",
    ),
];

fn wrong_types(wire: &Wire<'_>) {
    for (path, body, part) in TYPES {
        let said = wire.post(path, body).refused(400, "BadRequest");
        assert!(said.contains(part), "{body}: {said}");
    }
    let said = wire.post(DEPLOYMENTS, r#"{"metadata":{"name":"b"},"spec":{}}"#);
    let said = said.refused(422, "Invalid");
    for field in ["spec.selector: Required value", "spec.template.spec.containers: Required value"]
    {
        assert!(said.contains(field), "{said}");
    }
}

/// Unknown and duplicate fields, in three degrees, in both languages.
fn strictness(wire: &Wire<'_>) {
    let json = r#"{"metadata":{"name":"b","foo":1},"data":{"a":"b","a":"c"},"bar":2}"#;
    let yaml = "metadata: {name: b}\ndata:\n  a: b\n  a: c\nbar: 1\n";
    let send = |validation: &str, media_type: &str, body: &str| {
        let path = format!("{MAPS}?dryRun=All&fieldValidation={validation}");
        wire.send("POST", &path, media_type, body.as_bytes())
    };
    let said = send("Strict", JSON, json).refused(400, "BadRequest");
    assert!(said.ends_with(
        "strict decoding error: unknown field \"metadata.foo\", duplicate field \"data.a\", \
         unknown field \"bar\""
    ));
    let said = send("Strict", YAML, yaml).refused(400, "BadRequest");
    assert!(said.contains("line 4: key \"a\" already set in map"), "{said}");
    assert!(said.ends_with("unknown field \"bar\""), "{said}");
    for validation in ["Warn", ""] {
        let warned = send(validation, JSON, json);
        assert_eq!(
            warned.headers("warning"),
            [
                r#"299 - "unknown field \"metadata.foo\"""#,
                r#"299 - "duplicate field \"data.a\"""#,
                r#"299 - "unknown field \"bar\"""#,
            ]
        );
        assert_eq!(warned.ok().at(&["data", "a"]).str(), "c", "the last one holds");
        assert_eq!(send(validation, YAML, yaml).headers("warning").len(), 2);
    }
    let ignored = send("Ignore", JSON, json);
    assert!(ignored.headers("warning").is_empty());
    ignored.ok();
    // A patch is held to the same.
    let path = format!("{MAPS}/kept?dryRun=All&fieldValidation=Strict");
    let said = wire.merge(&path, r#"{"bar":2}"#).refused(422, "Invalid");
    assert!(said.contains("unknown field \"bar\""), "{said}");
}

fn sizes(wire: &Wire<'_>) {
    let map = |data: &str| format!(r#"{{"metadata":{{"name":"b"}},"data":{data}}}"#);
    let text = |bytes: usize| map(&format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes)));
    // Over the limit, far over it, and without a length: all get to read why.
    for bytes in [3 << 20, 9 << 20] {
        let said = wire.post(MAPS, &text(bytes)).refused(413, "RequestEntityTooLarge");
        assert_eq!(said, "Request entity too large: limit is 3145728");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text(9 << 20)).unwrap();
    let data = format!("@{}", file.path().display());
    let words = ["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"];
    let words = [&words[..], &["--http1.1", "--data-binary", &data]].concat();
    wire.call(MAPS, &words).refused(413, "RequestEntityTooLarge");
    let said = wire.post(MAPS, &text(2 << 20)).refused(422, "Invalid");
    assert!(said.contains("Too long: may not be more than 1048576 bytes"), "{said}");
    let deep = format!("{}1{}", r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    let said = wire.post(MAPS, &map(&deep)).refused(400, "BadRequest");
    assert!(said.contains("exceeded max depth"), "{said}");
    let keys: Vec<String> = (0..200_000).map(|i| format!("\"k{i}\":\"\"")).collect();
    let keys = format!("{{{}}}", keys.join(","));
    let tried = wire.post(&format!("{MAPS}?dryRun=All"), &map(&keys));
    assert!(tried.code < 500, "{} {}", tried.code, tried.text());
    let annotated = format!(r#"{{"metadata":{{"name":"b","annotations":{keys}}}}}"#);
    let said = wire.post(MAPS, &annotated).refused(422, "Invalid");
    assert!(said.contains("metadata.annotations: Too long"), "{said}");
    // A bomb of aliases.
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h", "i"].into_iter().zip("abcdefgh".chars()) {
        let items = vec![format!("*{of}"); 9].join(",");
        bomb.push_str(&format!("{name}: &{name} [{items}]\n"));
    }
    let said = wire.send("POST", MAPS, YAML, bomb.as_bytes()).refused(400, "BadRequest");
    assert!(said.ends_with("too large or too deep once its aliases are expanded"), "{said}");
}

fn with_kubectl(cluster: &Cluster) {
    let said = cluster.apply("apiVersion: v1\nkind: ConfigMap\n  metadata: {name: b}\n").fails();
    assert!(said.contains("error parsing STDIN: error converting YAML to JSON"), "{said}");
    let said = cluster.apply("apiVersion: v1\nkind: Nothing\nmetadata: {name: b}\n").fails();
    assert!(said.contains("no matches for kind \"Nothing\" in version \"v1\""), "{said}");
    let typo = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndta: {}\n";
    let create = |validate: &str| {
        let words = ["create", "--dry-run=server", validate, "-f", "-"];
        cluster.kubectl_with(&words, typo)
    };
    let said = create("--validate=strict").fails();
    assert!(said.contains("strict decoding error: unknown field \"dta\""), "{said}");
    let warned = create("--validate=warn");
    assert!(warned.err.contains("Warning: unknown field \"dta\""), "{}", warned.err);
    warned.ok();
    let ignored = create("--validate=ignore");
    assert_eq!(ignored.err, "");
    ignored.ok();
    let file = cluster.path("large.yaml");
    let large = "x".repeat(4 << 20);
    let map =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: b}}\ndata: {{a: {large}}}\n");
    std::fs::write(&file, map).unwrap();
    let said = cluster.kubectl(&format!("create -f {}", file.display())).fails();
    assert!(said.contains("Request entity too large: limit is 3145728"), "{said}");
    std::fs::remove_file(file).unwrap();
}
