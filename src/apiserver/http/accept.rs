//! Which form of an answer a client takes: the `Accept` header against what can be made.

use crate::api::status::Status;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Media {
    /// The media type of a single document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch.
    pub const fn stream_name(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            media => media.name(),
        }
    }
}

/// What of an object is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// All of it.
    Whole,
    /// A row of a table of this version of `meta.k8s.io`.
    Table(&'static str),
    /// Its metadata.
    Metadata,
}

/// What the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// How it is written.
    pub media: Media,
    /// What is shown.
    pub shape: Shape,
}

/// What an endpoint can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Whether whole objects can be had in protobuf: not those of custom resources.
    pub protobuf: bool,
    /// Whether tables and bare metadata can be had.
    pub shapes: bool,
    /// Whether YAML can be had: not on a watch.
    pub yaml: bool,
}

impl Offer {
    fn names(self) -> String {
        let mut names = vec![Media::Json.name()];
        if self.yaml {
            names.push(Media::Yaml.name());
        }
        if self.protobuf {
            names.push(Media::Protobuf.name());
        }
        names.join(", ")
    }
}

/// The best form that both sides have; without a header it is plain JSON.
///
/// # Errors
/// 406 where there is none.
pub fn negotiate(accept: &str, offer: Offer) -> Result<Accepted, Status> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    if clauses.is_empty() {
        return Ok(Accepted { media: Media::Json, shape: Shape::Whole });
    }
    // Stable: of equal weights the first is taken.
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.weight));
    let found = clauses.iter().filter(|c| c.weight > 0).find_map(|clause| clause.accepts(offer));
    found.ok_or_else(|| Status::not_acceptable(&offer.names()))
}

/// Whether a client of a page for people wants it as an object of a group, version and kind.
///
/// # Errors
/// 406 where it takes neither this nor text.
pub fn structured(
    accept: &str,
    (group, version, kind): (&str, &str, &str),
) -> Result<bool, Status> {
    let mut clauses: Vec<Clause<'_>> = accept.split(',').filter_map(Clause::parse).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.weight));
    let form = |clause: &Clause<'_>| match (clause.kind, clause.shape) {
        ("text/plain" | "text/*" | "*/*", None) => Some(false),
        ("application/json" | "application/*", Some(shape)) => {
            let asked = (clause.group, clause.version, shape);
            (asked == (group, version, kind)).then_some(true)
        }
        _ => None,
    };
    if clauses.is_empty() {
        return Ok(false);
    }
    let found = clauses.iter().filter(|c| c.weight > 0).find_map(form);
    found.ok_or_else(|| Status::not_acceptable("application/json, text/plain"))
}

/// One alternative of the header.
struct Clause<'a> {
    kind: &'a str,
    /// Thousandths.
    weight: u32,
    shape: Option<&'a str>,
    group: &'a str,
    version: &'a str,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| !kind.is_empty())?;
        let mut clause = Self { kind, weight: 1000, shape: None, group: "", version: "" };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            match key.trim() {
                "q" => clause.weight = weight(value),
                "as" => clause.shape = Some(value),
                "g" => clause.group = value,
                "v" => clause.version = value,
                _ => {}
            }
        }
        Some(clause)
    }

    fn accepts(&self, offer: Offer) -> Option<Accepted> {
        let shape = match self.shape {
            None => Shape::Whole,
            Some(_) if !offer.shapes || self.group != "meta.k8s.io" => return None,
            Some("Table") => Shape::Table(match self.version {
                "v1" => "v1",
                "v1beta1" => "v1beta1",
                _ => return None,
            }),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Shape::Metadata,
            Some(_) => return None,
        };
        let media = match self.kind {
            "application/json" | "application/*" | "*/*" => Media::Json,
            "application/yaml" if offer.yaml => Media::Yaml,
            "application/vnd.kubernetes.protobuf" if takes_protobuf(offer, shape) => {
                Media::Protobuf
            }
            _ => return None,
        };
        Some(Accepted { media, shape })
    }
}

/// Tables hold values of any type and have no protobuf form; metadata has one for all kinds.
fn takes_protobuf(offer: Offer, shape: Shape) -> bool {
    match shape {
        Shape::Whole => offer.protobuf,
        Shape::Metadata => true,
        Shape::Table(_) => false,
    }
}

fn weight(text: &str) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1")]
    text.parse::<f64>().map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { protobuf: true, shapes: true, yaml: true };

    fn accepted(accept: &str, offer: Offer) -> Option<(Media, Shape)> {
        negotiate(accept, offer).ok().map(|a| (a.media, a.shape))
    }

    #[test]
    fn clients_get_what_they_ask_for() {
        let whole = |media| Some((media, Shape::Whole));
        assert_eq!(accepted("", ALL), whole(Media::Json));
        assert_eq!(accepted("*/*", ALL), whole(Media::Json));
        assert_eq!(accepted("application/yaml", ALL), whole(Media::Yaml));
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accepted(client_go, ALL), whole(Media::Protobuf));
        let custom = Offer { protobuf: false, ..ALL };
        assert_eq!(accepted(client_go, custom), whole(Media::Json));
        assert_eq!(accepted("application/json;q=0.1, application/yaml", ALL), whole(Media::Yaml));
    }

    #[test]
    fn kubectl_gets_tables() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accepted(kubectl, ALL), Some((Media::Json, Shape::Table("v1"))));
        let plain = Offer { shapes: false, ..ALL };
        assert_eq!(accepted(kubectl, plain), Some((Media::Json, Shape::Whole)));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;\
                        g=meta.k8s.io;v=v1";
        assert_eq!(accepted(metadata, ALL), Some((Media::Protobuf, Shape::Metadata)));
    }

    #[test]
    fn pages_for_people_are_text_unless_their_object_is_asked_for() {
        let form = |accept| structured(accept, ("g", "v1", "Page")).ok();
        assert_eq!(form(""), Some(false));
        assert_eq!(form("application/json, */*"), Some(false), "so asks kubectl");
        assert_eq!(form("application/json;as=Page;g=g;v=v1"), Some(true));
        assert_eq!(form("application/json;as=Page;g=g;v=v2, text/plain"), Some(false));
        assert_eq!(form("application/json"), None);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let status = negotiate("text/plain", ALL).unwrap_err();
        assert_eq!(
            status.message,
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
        );
        assert!(negotiate("application/json;as=Chart;g=meta.k8s.io;v=v1", ALL).is_err());
    }
}
