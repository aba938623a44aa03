//! What lasts: flows, tables of an earlier process, and what others do to them.

use super::*;
use rk::net::service::Loss;

#[test]
fn connections_outlive_their_endpoint_and_the_process() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let first = proxy(web(&[A])).await;
        let mut inside = a.dial((VIP, 80)).await.unwrap();
        let mut outside = w.outside.dial((NODE, NODE_PORT)).await.unwrap();
        for stream in [&mut inside, &mut outside] {
            assert_eq!(crate::net::world::read_answer(stream).await.unwrap().0, "a");
        }
        drop(first);
        let second = Proxy::open(config()).await.unwrap();
        assert_eq!(second.apply(desired(web(&[A]))).await.unwrap(), 0, "adopted as it was");
        second.apply(desired(web(&[B]))).await.unwrap();
        for stream in [&mut inside, &mut outside] {
            echo(stream).await.unwrap();
        }
        assert_eq!(a.ask_often((VIP, 80), 10).await, [("b".to_owned(), 10)].into());
        second.remove().await.unwrap();
        refused(w.outside.ask((NODE, NODE_PORT)).await);
    });
}

#[test]
fn no_connection_fails_while_endpoints_come_and_go() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let proxy = proxy(web(&[A, B])).await;
        let changes = async {
            for round in 0..300 {
                let endpoints: &[Ipv4Addr] = match round % 4 {
                    0 => &[B],
                    1 => &[B, A],
                    2 => &[A],
                    _ => &[A, B],
                };
                proxy.apply(desired(web(endpoints))).await.unwrap();
            }
        };
        let connections = async {
            let mut count = 0;
            loop {
                for (space, to) in
                    [(&a, (VIP, 80)), (&w.outside, (NODE, NODE_PORT)), (&a, (NODE, NODE_PORT))]
                {
                    let answer = space.ask(to).await;
                    assert!(answer.is_ok(), "{} to {to:?} after {count}: {answer:?}", space.name);
                    count += 1;
                }
            }
        };
        tokio::select! {
            () = changes => (),
            () = connections => unreachable!(),
        }
    });
}

#[test]
fn another_configuration_replaces_the_table_without_a_gap() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        drop(proxy(web(&[A])).await);
        let mut stream = w.outside.dial((NODE, NODE_PORT)).await.unwrap();
        crate::net::world::read_answer(&mut stream).await.unwrap();
        let mut config = config();
        config.unmasqueraded.push("192.168.77.0/24".parse().unwrap());
        let proxy = Proxy::open(config).await.unwrap();
        assert_eq!(a.ask((VIP, 80)).await.unwrap().0, "a", "in force until the first apply");
        proxy.apply(desired(web(&[A]))).await.unwrap();
        echo(&mut stream).await.unwrap();
        assert_eq!(a.ask((VIP, 80)).await.unwrap().0, "a");
    });
}

#[test]
fn changes_are_as_large_as_what_changed() {
    on_a_node(|_w| async move {
        let proxy = Proxy::open(config()).await.unwrap();
        let mut desired = many(1000);
        // Of each: front, two endpoints; and two pods that may meet themselves.
        assert_eq!(proxy.apply(Arc::new(desired.clone())).await.unwrap(), 3002);
        assert_eq!(proxy.apply(Arc::new(desired.clone())).await.unwrap(), 0);
        let one = desired.services.get_mut("ns/500").unwrap();
        Arc::make_mut(one).ports[0].endpoints.pop();
        // One endpoint less, and a front that leads to one instead of two.
        assert_eq!(proxy.apply(Arc::new(desired.clone())).await.unwrap(), 2);
        proxy.recheck();
        assert_eq!(proxy.apply(Arc::new(desired.clone())).await.unwrap(), 0);
        let again = Proxy::open(config()).await.unwrap();
        assert_eq!(again.apply(Arc::new(desired.clone())).await.unwrap(), 0);
        desired.services.clear();
        assert_eq!(again.apply(Arc::new(desired.clone())).await.unwrap(), 3001);
        // Chains follow one transaction later.
        again.apply(Arc::new(desired)).await.unwrap();
        assert!(chains().iter().all(|name| !name.starts_with("to-")), "{:?}", chains());
    });
}

fn many(count: u16) -> Desired {
    let service = |i: u16| {
        let [high, low] = i.to_be_bytes();
        let cluster_ips = vec![IpAddr::from([10, 43, high, low])];
        let mut ports = vec![port(Tcp, &[A, B])];
        ports[0].node_port = None;
        (format!("ns/{i}"), Arc::new(Service { cluster_ips, ports, ..Service::default() }))
    };
    let node_ips = vec![IpAddr::V4(NODE)];
    Desired { node_ips, services: (0..count).map(service).collect(), ..Desired::default() }
}

fn chains() -> Vec<String> {
    let mut socket = nft::socket().unwrap();
    let chains = nft::chains(&mut socket, nft::FAMILY_IP).unwrap();
    chains.into_iter().map(|chain| chain.name).collect()
}

#[test]
fn a_table_that_others_flush_is_noticed_and_made_again() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let proxy = proxy(web(&[A])).await;
        let mut loss: Loss = proxy.watch().unwrap();
        let mut batch = nft::Batch::new(nft::FAMILY_IP, "another");
        batch.add_table();
        batch.commit(&mut nft::socket().unwrap()).unwrap();
        for table in ["another", TABLE] {
            let mut batch = nft::Batch::new(nft::FAMILY_IP, table);
            batch.delete_table();
            batch.commit(&mut nft::socket().unwrap()).unwrap();
        }
        timeout(PATIENCE, loss.wait()).await.unwrap().unwrap();
        proxy.recheck();
        proxy.apply(desired(web(&[A]))).await.unwrap();
        assert_eq!(a.ask((VIP, 80)).await.unwrap().0, "a");
        // What this process does itself is no loss.
        proxy.apply(desired(web(&[]))).await.unwrap();
        let none = timeout(Duration::from_millis(100), loss.wait()).await;
        assert!(none.is_err());
    });
}

#[test]
fn elements_that_others_change_are_put_right_by_the_next_change() {
    on_a_node(|w| async move {
        let (a, _b) = pods(&w).await;
        let proxy = proxy(web(&[A])).await;
        let mut socket = nft::socket().unwrap();
        let mut keys = Vec::new();
        nft::elements(&mut socket, (nft::FAMILY_IP, TABLE), "fronts", |key, _| {
            keys.push(key.to_vec())
        })
        .unwrap();
        assert_eq!(keys.len(), 3);
        let mut batch = nft::Batch::new(nft::FAMILY_IP, TABLE);
        batch.delete_elements("fronts", keys.iter().map(Vec::as_slice));
        batch.commit(&mut socket).unwrap();
        refused(a.ask((VIP, 80)).await);
        proxy.apply(desired(web(&[A, B]))).await.unwrap();
        assert_eq!(a.ask_often((VIP, 80), 30).await.len(), 2);
    });
}

#[test]
fn others_can_list_the_table() {
    on_a_node(|_w| async move {
        let mut service = web(&[A, REMOTE_POD]);
        (service.affinity, service.external_local) = (Some(Duration::from_secs(9)), true);
        let _proxy = proxy(service).await;
        let Ok(listed) = std::process::Command::new("nft").args(["list", "ruleset"]).output()
        else {
            eprintln!("skipped: there is no nft here");
            return;
        };
        let text = String::from_utf8_lossy(&listed.stdout);
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        for line in ["10.43.0.9 . tcp . 80 : goto to-2-kept", "update @affinity { ip saddr"] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    });
}

#[test]
fn nothing_is_left_after_remove_all() {
    on_a_node(|w| async move {
        let (_a, _b) = pods(&w).await;
        let _proxy = proxy(web(&[A])).await;
        rk::net::remove_all().await.unwrap();
        rk::net::remove_all().await.unwrap();
        assert_eq!(chains(), [""; 0]);
        assert!(link::list().await.unwrap().is_empty());
        let mut s = rk::sys::rtnl::socket().unwrap();
        let routes = rk::sys::rtnl::routes(&mut s).unwrap();
        let strange = |r: &&rk::sys::rtnl::Known| r.route.index == rk::sys::rtnl::LOOPBACK;
        assert_eq!(routes.iter().find(strange), None);
    });
}
