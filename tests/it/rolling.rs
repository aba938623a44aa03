//! A Deployment rolls while visitors come: none of them notices.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};

use crate::guestbook;
use crate::harness::{Cluster, SERVER};
use crate::load::Load;

/// How often the Deployment rolls.
const ROLLS: usize = 3;
/// Requests a second, of each of the three visitors.
const RATE: u32 = 100;
/// Where the web servers are reached from elsewhere.
pub const NODE_PORT: u16 = 30090;
/// How many there are.
const REPLICAS: usize = 20;

/// Web servers that say which version they are, and end at once when they are told to, so that
/// whoever is led to one after its two seconds fails; and a service in front of them. What they
/// request keeps them from starving while the machine is busy.
pub fn web(replicas: usize) -> String {
    WEB.replace("REPLICAS", &replicas.to_string())
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: REPLICAS
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: guestbook/web:1
        env: [{name: VERSION, value: "0"}]
        command: [sh, -c]
        args:
        - |
          echo "this is version $VERSION." >/tmp/index.html
          httpd -f -p 8080 -h /tmp &
          trap "kill $!" TERM
          wait
        ports: [{name: http, containerPort: 8080}]
        resources: {requests: {cpu: 20m}}
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        lifecycle: {preStop: {sleep: {seconds: 2}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: http, nodePort: 30090}]
"#;

const VISITOR: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: visitor}
spec:
  containers:
  - {name: visitor, image: guestbook/web:1, command: [sleep, "100000"]}
"#;

/// The network namespace of a pod.
fn namespace_of(cluster: &Cluster, pod: &str) -> File {
    let uid = cluster.kubectl(&format!("get pod {pod} -o jsonpath={{.metadata.uid}}")).ok();
    File::open(cluster.path("run/runtime/ns").join(uid).join("net")).unwrap()
}

/// Whether a web server has answered.
pub fn is_page(answer: &str) -> bool {
    answer.contains(" 200 OK\r\n") && answer.contains("this is version ")
}

#[test]
fn no_visitor_notices_a_rolling_update() {
    let cluster = Cluster::start(&[]);
    guestbook::import(&cluster, "guestbook-web.tar");
    cluster.apply(&format!("{}---{VISITOR}", web(REPLICAS))).ok();
    cluster.kubectl("rollout status deployment/web --timeout=120s").ok();
    cluster.kubectl("wait --for=condition=Ready pod/visitor --timeout=60s").ok();
    let service: IpAddr =
        cluster.kubectl("get service web -o jsonpath={.spec.clusterIP}").ok().parse().unwrap();
    let inside = SocketAddr::new(service, 80);
    let outside = SocketAddr::new(SERVER.into(), NODE_PORT);
    guestbook::eventually("the page", || cluster.machine.run(|| is_reached(inside)));

    let visitors = [
        Load::start("from a pod", namespace_of(&cluster, "visitor"), inside, RATE, is_page),
        Load::start("from the node", &cluster.machine, inside, RATE, is_page),
        Load::start("from elsewhere", &cluster.other, outside, RATE, is_page),
    ];
    for version in 1..=ROLLS {
        cluster.kubectl(&format!("set env deployment/web VERSION={version}")).ok();
        cluster.kubectl("rollout status deployment/web --timeout=180s").ok();
    }
    let answers: usize = visitors.into_iter().map(Load::end).sum();
    assert!(answers > 1000, "only {answers} visits: the rolling was over too soon");
}

/// Whether somebody takes connections there.
pub fn is_reached(to: SocketAddr) -> Result<(), String> {
    std::net::TcpStream::connect(to).map(drop).map_err(|error| error.to_string())
}
