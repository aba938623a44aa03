//! What a token says: whether it holds, and who its user is. Pure.

use std::time::Duration;

use super::Settings;
use crate::api::tree::Value;
use crate::auth::UserInfo;
use crate::util::clock::Wall;

/// How far a token's beginning may lie ahead: issuers' clocks differ.
const LEEWAY: Duration = Duration::from_secs(300);
/// The extra field of a user that says by which token he is known.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";
/// A name that one issuer writes in two ways.
const GOOGLE: [&str; 2] = ["accounts.google.com", "https://accounts.google.com"];

/// The claims of a token.
pub(super) struct Claims<'a>(pub &'a Value);

impl<'a> Claims<'a> {
    /// Who issued it, by its own word.
    pub fn issuer(&self) -> &'a str {
        match self.0.get("iss").str() {
            name if name == GOOGLE[0] => GOOGLE[1],
            name => name,
        }
    }

    /// A claim that is a text.
    fn text(&self, name: &str) -> Result<&'a str, String> {
        match self.0.get(name) {
            Value::Null => Err("claim not present".to_owned()),
            value => value.as_str().ok_or_else(|| "it is no text".to_owned()),
        }
    }

    /// A claim that is a time; tokens may write it with a fraction.
    fn time(&self, name: &str) -> Option<Wall> {
        let value = self.0.get(name);
        let seconds = value.as_int().or_else(|| {
            let whole = value.to_string();
            whole.split('.').next().and_then(|whole| whole.parse().ok())
        });
        seconds.map(Wall::from_seconds)
    }

    /// Whether the token is for us and holds now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, settings: &Settings, now: Wall) -> Result<(), String> {
        if self.issuer() != settings.issuer {
            return Err(format!("id token issued by a different provider: {:?}", self.issuer()));
        }
        let audience = self.0.get("aud");
        let for_us = audience.str() == settings.client_id
            || audience.items().iter().any(|one| one.str() == settings.client_id);
        if !for_us {
            let wanted = &settings.client_id;
            return Err(format!("expected audience in [{wanted:?}] got {audience}"));
        }
        match self.time("exp") {
            Some(end) if end >= now => {}
            Some(_) => return Err("token is expired".to_owned()),
            None => return Err("the token does not say when it expires".to_owned()),
        }
        match self.time("nbf") {
            Some(start) if start > now.after(LEEWAY) => {
                Err("current time is before the nbf (not before) time".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The user that the token vouches for.
    ///
    /// # Errors
    /// When a claim that is needed is missing or has another form.
    pub fn user(&self, settings: &Settings) -> Result<UserInfo, String> {
        let name = self.name(settings)?;
        let groups = self.groups(settings)?;
        for (claim, wanted) in &settings.required {
            if self.0.get(claim).is_null() {
                return Err(format!("required claim {claim} not present in ID token"));
            }
            let found = self.text(claim).map_err(|e| format!("parse claim {claim}: {e}"))?;
            if found != wanted {
                return Err(format!(
                    "required claim {claim} value does not match. Got = {found}, want = {wanted}"
                ));
            }
        }
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let mut user = UserInfo::system(&name, &groups);
        if let Ok(id) = self.text("jti")
            && !id.is_empty()
        {
            user.extra.insert(CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
        }
        Ok(user)
    }

    fn name(&self, settings: &Settings) -> Result<String, String> {
        let claim = &settings.username_claim;
        let name = self.text(claim).map_err(|e| format!("parse username claims {claim:?}: {e}"))?;
        if claim == "email" {
            match self.0.get("email_verified") {
                Value::Null => {}
                verified if verified.is_true() => {}
                verified if verified.as_bool().is_none() => {
                    return Err("parse 'email_verified' claim: it is no boolean".to_owned());
                }
                _ => return Err("email not verified".to_owned()),
            }
        }
        // Nobody is no user; upstream refuses this where names come from expressions.
        if name.is_empty() {
            return Err(format!("the username claim {claim:?} is empty"));
        }
        Ok(format!("{}{name}", settings.username_prefix))
    }

    fn groups(&self, settings: &Settings) -> Result<Vec<String>, String> {
        let claim = &settings.groups_claim;
        if claim.is_empty() {
            return Ok(Vec::new());
        }
        if !self.0.at(&["_claim_names", claim]).is_null() {
            return Err("could not expand distributed claims: rk does not fetch them".to_owned());
        }
        let wrong = || format!("parse groups claim {claim:?}: it is neither a text nor a list");
        let prefixed = |group: &Value| {
            let group = group.as_str().ok_or_else(wrong)?;
            Ok(format!("{}{group}", settings.groups_prefix))
        };
        match self.0.get(claim) {
            Value::Null => Ok(Vec::new()),
            Value::Array(groups) => groups.iter().map(prefixed).collect(),
            one => Ok(vec![prefixed(one)?]),
        }
    }
}
