//! Which of several builds of an image runs on this machine.

use std::fmt;

use serde::Deserialize;

/// Operating system and processor as images name them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Go's name of the processor: `amd64`, `arm64`.
    pub architecture: String,
    /// Always `linux` here.
    pub os: String,
    /// Refinement of the architecture: `v7`, `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// The platform that this executable was built for.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform {
            architecture: architecture.to_string(),
            os: "linux".to_string(),
            variant: variant.map(str::to_string),
        }
    }

    /// How well an image for `offered` suits this platform: smaller is better, none is not at all.
    pub fn rank(&self, offered: &Platform) -> Option<u32> {
        if offered.architecture.is_empty() && offered.os.is_empty() {
            return Some(u32::MAX);
        }
        let (architecture, implied) = canonical(&offered.architecture);
        if offered.os != self.os || architecture != self.architecture {
            return None;
        }
        let variant = offered.variant.as_deref().filter(|v| !v.is_empty()).or(implied);
        match (architecture, variant) {
            (_, None) => Some(1),
            // Later levels of x86-64 may use instructions that this processor lacks.
            ("amd64", Some("v1")) | ("arm64", Some("v8" | "8")) => Some(0),
            ("arm", Some(variant)) => self.rank_arm(variant),
            ("amd64" | "arm64", Some(_)) => None,
            (_, Some(variant)) => (self.variant.as_deref() == Some(variant)).then_some(0),
        }
    }

    /// A processor of one ARM version runs the programs of earlier ones.
    fn rank_arm(&self, offered: &str) -> Option<u32> {
        let version = |v: &str| v.trim_start_matches('v').parse::<u32>().ok();
        let own = version(self.variant.as_deref().unwrap_or("v7"))?;
        own.checked_sub(version(offered)?)
    }
}

/// Common other names of architectures, with the variant that they imply.
fn canonical(architecture: &str) -> (&str, Option<&str>) {
    match architecture {
        "x86_64" | "x86-64" => ("amd64", None),
        "aarch64" => ("arm64", None),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        "i386" => ("386", None),
        other => (other, None),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            Some(variant) if !variant.is_empty() => write!(f, "/{variant}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        let mut parts = text.split('/').map(str::to_string);
        let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
        Platform { architecture, os, variant: parts.next() }
    }

    #[test]
    fn the_nearest_build_that_runs_is_chosen() {
        for (host, offered, rank) in [
            ("linux/amd64", "linux/amd64", Some(1)),
            ("linux/amd64", "linux/amd64/v1", Some(0)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64", "windows/amd64", None),
            ("linux/amd64", "unknown/unknown", None),
            ("linux/amd64", "linux/arm64", None),
            ("linux/arm64/v8", "linux/aarch64", Some(1)),
            ("linux/arm/v7", "linux/arm/v6", Some(1)),
            ("linux/arm/v7", "linux/arm/v8", None),
            ("linux/arm/v6", "linux/armhf", None),
        ] {
            assert_eq!(platform(host).rank(&platform(offered)), rank, "{offered} on {host}");
        }
        assert_eq!(Platform::host().rank(&Platform::default()), Some(u32::MAX));
    }
}
