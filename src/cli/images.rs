//! `rk images`: the images of this machine, with or without a running rk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

use super::Failure;
use super::commands::path;
use super::raw::Raw;
use crate::node::config;
use crate::runtime::image::{Credentials, Image, PruneRequest, Reference, Registries, Store};

pub(super) fn arguments(command: Command) -> Command {
    let import = Command::new("import")
        .about("Take in docker and OCI archives (tar, tar.gz, tar.zst)")
        .arg(many("FILE", "Archive"));
    let list = Command::new("list").about("List images");
    let pull = Command::new("pull")
        .about("Bring an image from its registry")
        .arg(many("IMAGE", "Name, such as docker.io/library/nginx:1.29"));
    let remove = Command::new("remove")
        .about("Remove a name, or by its id an image")
        .arg(many("IMAGE", "Name or id"));
    let prune = Command::new("prune").about("Remove all images that no container was made from");
    command
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([import, list, pull, remove, prune])
}

fn many(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).num_args(1..).required(true).help(help)
}

pub(super) fn run(raw: &Raw, matches: &ArgMatches) -> Result<(), Failure> {
    let agent = path(raw, "data-dir")?.join("agent");
    let registries = path(raw, "private-registry")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(Failure::of)?.block_on(async {
        let store = Store::open(&config::image_store(&agent)).map_err(Failure::of)?;
        match matches.subcommand() {
            Some(("import", matches)) => import(&store, &values(matches, "FILE")).await,
            Some(("pull", matches)) => pull(&store, &values(matches, "IMAGE"), registries).await,
            Some(("remove", matches)) => remove(&store, &values(matches, "IMAGE")).await,
            Some(("prune", _)) => prune(&store).await,
            _ => list(&store).await,
        }
    })
}

fn values(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).into_iter().flatten().cloned().collect()
}

async fn import(store: &Arc<Store>, files: &[String]) -> Result<(), Failure> {
    for file in files {
        for image in store.import(PathBuf::from(file)).await.map_err(Failure::of)? {
            println!("{}", names(&image).join("\n"));
        }
    }
    Ok(())
}

async fn pull(store: &Arc<Store>, images: &[String], registries: PathBuf) -> Result<(), Failure> {
    let registries = Registries::load(&registries).map_err(Failure::of)?;
    for name in images {
        let reference = Reference::parse(name).map_err(Failure::of)?;
        let pulled = store.pull(&reference, &Credentials::default(), &registries).await;
        let image = pulled.map_err(Failure::of)?;
        println!("{reference} {}", image.id);
    }
    Ok(())
}

async fn remove(store: &Arc<Store>, images: &[String]) -> Result<(), Failure> {
    for name in images {
        if !store.remove(name).await.map_err(Failure::of)? {
            return Err(Failure::Because(format!("there is no image {name:?} here")));
        }
    }
    Ok(())
}

async fn prune(store: &Arc<Store>) -> Result<(), Failure> {
    let everything = PruneRequest { unused_for: Duration::ZERO, ..PruneRequest::default() };
    let pruned = store.prune(everything).await.map_err(Failure::of)?;
    println!("removed {} images, freed {} kB", pruned.images.len(), pruned.freed_bytes / 1000);
    Ok(())
}

async fn list(store: &Arc<Store>) -> Result<(), Failure> {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for image in store.list().await.map_err(Failure::of)? {
        let short: String = image.id.hex().chars().take(12).collect();
        let size = format!("{:.1}MB", image.disk_bytes as f64 / 1e6);
        rows.extend(names(&image).into_iter().map(|name| [name, short.clone(), size.clone()]));
    }
    rows.sort();
    rows.insert(0, ["IMAGE", "ID", "SIZE"].map(str::to_owned));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    for [name, id, size] in &rows {
        println!("{name:first$}   {id:second$}   {size}");
    }
    Ok(())
}

/// What an image is called: by tags, failing that by digests, failing that by its id.
fn names(image: &Image) -> Vec<String> {
    if !image.tags.is_empty() {
        return image.tags.clone();
    }
    if !image.repo_digests.is_empty() {
        return image.repo_digests.clone();
    }
    vec![image.id.to_string()]
}
