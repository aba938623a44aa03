//! Volumes that would put two files, or a file and a folder, in one place.

use crate::api::kinds::check::At;

/// A path in a volume, and where what is put there comes from.
struct Place {
    path: String,
    source: String,
}

impl Place {
    fn new(path: At<'_>, source: &str) -> Self {
        Self { path: path.str().trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    /// Whether one is the other, or lies in it.
    fn overlaps(&self, other: &Self) -> bool {
        let below = |a: &str, b: &str| format!("{a}/").starts_with(&format!("{b}/"));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (below(&self.path, &other.path) || below(&other.path, &self.path))
    }

    fn text(&self) -> String {
        match self.source.as_str() {
            "" => format!("{:?}", self.path),
            source => format!("{:?} ({source})", self.path),
        }
    }
}

/// What there is to say of the volumes of a pod.
pub(super) fn warnings(spec: At<'_>, told: &mut Vec<String>) {
    for volume in spec.field("volumes").items() {
        let name = volume.value().get("name").str();
        for (field, shown, by) in
            [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")]
        {
            let source = volume.field(field);
            let places = items(source, "");
            say(name, &format!("{shown} {:?}", source.get(by).str()), &places, told);
        }
        say(name, "DownwardAPI", &items(volume.field("downwardAPI"), ""), told);
        projected(name, volume.field("projected"), told);
    }
}

fn items(source: At<'_>, from: &str) -> Vec<Place> {
    source.field("items").items().map(|item| Place::new(item.field("path"), from)).collect()
}

fn say(volume: &str, what: &str, places: &[Place], told: &mut Vec<String>) {
    for (at, place) in places.iter().enumerate() {
        for other in places[..at].iter().filter(|other| place.overlaps(other)) {
            told.push(format!(
                "volume {volume:?} ({what}): overlapping paths: {} with {}",
                place.text(),
                other.text()
            ));
        }
    }
}

fn projected(volume: &str, projected: At<'_>, told: &mut Vec<String>) {
    let mut places = Vec::new();
    for source in projected.field("sources").items() {
        if source.value().fields().all(|(_, value)| value.is_null()) {
            told.push(format!("volume {volume:?} (Projected) has no sources provided"));
            continue;
        }
        for (field, shown) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
            let map = source.field(field);
            places.extend(items(map, &format!("{shown} {:?}", map.get("name").str())));
        }
        places.extend(items(source.field("downwardAPI"), "DownwardAPI"));
        let token = source.field("serviceAccountToken");
        places.push(Place::new(token.field("path"), "ServiceAccountToken"));
        let bundle = source.field("clusterTrustBundle");
        let name = bundle.get("name").as_str().unwrap_or(bundle.get("signerName").str());
        places.push(Place::new(bundle.field("path"), &format!("ClusterTrustBundle {name:?}")));
        let certificate = source.field("podCertificate");
        for (field, what) in [
            ("certificateChainPath", "PodCertificate chain"),
            ("keyPath", "PodCertificate key"),
            ("credentialBundlePath", "PodCertificate credential bundle"),
        ] {
            places.push(Place::new(certificate.field(field), what));
        }
    }
    say(volume, "Projected", &places, told);
}
