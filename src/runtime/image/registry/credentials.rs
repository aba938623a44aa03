//! How a puller shows who it is.

use std::fmt;

/// What a registry may ask for; never shown in logs or errors.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing; a registry's settings may supply something.
    #[default]
    Anonymous,
    /// User name and password, for basic authentication or to be changed into a token.
    Basic {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A refresh token of an earlier login, to be changed into an access token.
    IdentityToken(String),
    /// A bearer token, sent as it is.
    RegistryToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Anonymous => f.write_str("Anonymous"),
            Credentials::Basic { username, .. } => write!(f, "Basic({username}, …)"),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken(…)"),
            Credentials::RegistryToken(_) => f.write_str("RegistryToken(…)"),
        }
    }
}

impl Credentials {
    /// The value of an Authorization header for basic authentication.
    pub(super) fn basic(&self) -> Option<String> {
        use base64::Engine;
        let Credentials::Basic { username, password } = self else { return None };
        let encoded = base64::engine::general_purpose::STANDARD;
        Some(format!("Basic {}", encoded.encode(format!("{username}:{password}"))))
    }

    /// From docker's `auth` field: base64 of `user:password`.
    pub(super) fn from_auth(auth: &str) -> Option<Credentials> {
        use base64::Engine;
        use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
        let lenient =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
        let text = String::from_utf8(engine.decode(auth.trim()).ok()?).ok()?;
        let (username, password) = text.split_once(':')?;
        // Docker once padded passwords with NULs.
        let password = password.trim_matches('\0').to_string();
        Some(Credentials::Basic { username: username.to_string(), password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let secret = Credentials::Basic { username: "u".into(), password: "p4ss".into() };
        assert_eq!(format!("{secret:?}"), "Basic(u, …)");
        assert_eq!(format!("{:?}", Credentials::IdentityToken("p4ss".into())), "IdentityToken(…)");
    }

    #[test]
    fn dockers_auth_field_is_read() {
        let wanted = Credentials::Basic { username: "user".into(), password: "pa:ss".into() };
        for auth in ["dXNlcjpwYTpzcw==", "dXNlcjpwYTpzcw", "dXNlcjpwYTpzcw==\n"] {
            assert_eq!(Credentials::from_auth(auth), Some(wanted.clone()), "{auth:?}");
        }
        assert_eq!(wanted.basic().as_deref(), Some("Basic dXNlcjpwYTpzcw=="));
        assert_eq!(Credentials::from_auth("%%%"), None);
        assert_eq!(Credentials::from_auth("dXNlcg=="), None);
    }
}
