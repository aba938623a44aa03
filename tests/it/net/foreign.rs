//! Firewalls of others, as their own tools set them up.

use crate::net::world::on_a_node;
use rk::net::foreign;
use rk::net::service::{Config, Desired, Proxy};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A docker host by iptables-nft, a firewalld and a drop of the admin's own.
const RULESET: &str = "
table ip filter {
    chain DOCKER-USER { }
    chain FORWARD { type filter hook forward priority filter; policy drop;
        jump DOCKER-USER
    }
    chain INPUT { type filter hook input priority filter; policy accept; ip saddr 192.0.2.1 drop; }
}
table inet firewalld {
    chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
        ct state established,related accept
        reject with icmpx type admin-prohibited
    }
}
table inet mine {
    chain incoming { type filter hook input priority 0; policy drop; iif lo accept; }
}
table ip6 other {
    chain forward { type filter hook forward priority 0; policy drop; }
}
";

#[test]
fn firewalls_that_stop_pods_are_named() {
    on_a_node(|_w| async move {
        let own = Config {
            table: "rk".into(),
            pod_cidr: "10.42.0.0/24".parse().unwrap(),
            cluster_cidr: "10.42.0.0/16".parse().unwrap(),
            service_cidr: "10.43.0.0/16".parse().unwrap(),
            unmasqueraded: Vec::new(),
        };
        Proxy::open(own).await.unwrap().apply(Arc::new(Desired::default())).await.unwrap();
        assert_eq!(foreign::scan().await.unwrap(), [], "our own table is no obstacle");
        let Ok(mut nft) = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()
        else {
            eprintln!("skipped: there is no nft here");
            return;
        };
        nft.stdin.take().unwrap().write_all(RULESET.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success());
        let found = foreign::scan().await.unwrap();
        let mut seen: Vec<_> =
            found.iter().map(|f| (f.chain.as_str(), f.owner.as_deref(), f.forward)).collect();
        seen.sort_unstable();
        assert_eq!(
            seen,
            [
                ("inet firewalld filter_FORWARD", Some("firewalld"), true),
                ("inet mine incoming", None, false),
                ("ip filter FORWARD", Some("docker"), true),
            ]
        );
    });
}
