//! A peer on the same machine in the same run: kube-apiserver over etcd.
//!
//! One program holds both, as `tests/data/kubectl/record.sh` builds it: its first argument says
//! which part it is.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rk::pki::{Authority, Identity, Pki, Profile, kubeconfig};
use tempfile::TempDir;

use super::figures::Figure;
use super::wire::Target;
use super::{API_IDLE, idle, writes};
use crate::guestbook::eventually;
use crate::harness::{Machine, PORT, SERVER};

/// A running peer.
struct Peer {
    parts: Vec<Child>,
    dir: TempDir,
    /// Its own network.
    machine: Machine,
    _other: Machine,
}

impl Drop for Peer {
    fn drop(&mut self) {
        for part in self.parts.iter_mut().rev() {
            let _ = part.kill();
            let _ = part.wait();
        }
    }
}

/// Measures what `program` does as API server and store.
pub fn measure(program: &str) -> Vec<Figure> {
    let (machine, other) = Machine::pair();
    let dir = tempfile::Builder::new().prefix("rk-peer-").tempdir().unwrap();
    let pki = Pki::open(&dir.path().join("pki"), true).unwrap();
    let administrator = pki.client.issue(&Profile::client("admin", "system:masters")).unwrap();
    let authority = pki.server.certificate_pem();
    let url = format!("https://{SERVER}:{PORT}");
    let text = kubeconfig::render(&url, authority, &administrator, "default");
    std::fs::write(dir.path().join("kubeconfig"), text).unwrap();
    let mut peer = Peer { parts: Vec::new(), dir, machine, _other: other };
    peer.start(program, "etcd", etcd(peer.dir.path()));
    peer.start(program, "kube-apiserver", api_server(peer.dir.path(), &pki.server));
    peer.wait();
    let target = Target::of(SocketAddr::from((SERVER, PORT)), &peer.dir.path().join("kubeconfig"));
    let pids: Vec<i32> = peer.parts.iter().map(|p| i32::try_from(p.id()).unwrap()).collect();
    let database = peer.dir.path().join("etcd/member/wal");
    let mut figures = idle::measure("API server alone, idle", &pids, &database, API_IDLE);
    figures.extend(peer.machine.run(|| writes::measure(&target)));
    figures.extend(idle::memory("after all that", &pids));
    figures
}

impl Peer {
    fn start(&mut self, program: &str, part: &str, flags: Vec<String>) {
        let log = std::fs::File::create(self.dir.path().join(format!("{part}.log"))).unwrap();
        let mut command = Command::new(program);
        command.arg(part).args(flags).current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.parts.push(self.machine.spawn(&mut command));
    }

    fn wait(&self) {
        eventually("the peer is ready", || {
            let mut kubectl = Command::new("kubectl");
            kubectl.args(["get", "--raw", "/readyz", "--kubeconfig"]);
            let ran = self.machine.finish(kubectl.arg(self.dir.path().join("kubeconfig")), "");
            if ran.status.success() { Ok(()) } else { Err(ran.err) }
        });
    }
}

fn etcd(dir: &Path) -> Vec<String> {
    let (client, peer) = ("http://127.0.0.1:2379", "http://127.0.0.1:2380");
    let data = dir.join("etcd");
    vec![
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
    ]
}

fn api_server(dir: &Path, authority: &Authority) -> Vec<String> {
    let hosts = [SERVER.to_string(), "127.0.0.1".into()];
    let Identity { certificate_pem, key_pem } =
        authority.issue(&Profile::server("kube-apiserver", &hosts)).unwrap();
    std::fs::write(dir.join("server.crt"), certificate_pem).unwrap();
    std::fs::write(dir.join("server.key"), key_pem).unwrap();
    let signer = std::fs::read_to_string(dir.join("pki/service.key")).unwrap();
    let signer = rcgen::KeyPair::from_pem(&signer).unwrap();
    std::fs::write(dir.join("service.pub"), signer.public_key_pem()).unwrap();
    let flags = format!(
        "--etcd-servers=http://127.0.0.1:2379 --secure-port={PORT} --bind-address={SERVER} \
         --advertise-address={SERVER} --cert-dir=. --tls-cert-file=server.crt \
         --tls-private-key-file=server.key --client-ca-file=pki/client-ca.crt \
         --service-account-key-file=service.pub \
         --service-account-signing-key-file=pki/service.key \
         --service-account-issuer=https://kubernetes.default.svc \
         --service-cluster-ip-range=10.43.0.0/16 --authorization-mode=RBAC"
    );
    flags.split_whitespace().map(str::to_owned).collect()
}
