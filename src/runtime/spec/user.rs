//! Who runs a process: the container's [`User`] against the image's user and group files.

use super::User;

/// A user as the kernel knows it, and where it is at home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub gids: Vec<u32>,
    /// Home directory, when the image knows one.
    pub home: Option<String>,
}

/// Why a user cannot be resolved. The texts are those that users of containerd know.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A name that the image's `/etc/passwd` does not have.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// A name that the image's `/etc/group` does not have.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

/// A line of `/etc/group`: name, id, members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else { return None };
        Some((name, gid.parse().ok()?, members))
    })
}

/// Resolves `user` with the texts of the image's two files (empty when it has none).
pub fn resolve(user: &User, passwd: &str, group: &str) -> Result<Identity, Error> {
    let (wanted, wanted_group) = match user.image.split_once(':') {
        Some((wanted, group)) => (wanted, group),
        None => (user.image.as_str(), ""),
    };
    // A user set from outside comes with its own group, not with the image's.
    let wanted_group = if user.uid.is_some() { "" } else { wanted_group };
    let number = user.uid.or_else(|| wanted.parse().ok());
    let number = if number.is_none() && wanted.is_empty() { Some(0) } else { number };
    let matches = |account: &Account<'_>| match number {
        Some(uid) => account.uid == uid,
        None => account.name == wanted,
    };
    let account = accounts(passwd).find(matches);
    let (uid, primary, home) = match (account.as_ref(), number) {
        (Some(account), _) => (account.uid, account.gid, Some(account.home.to_owned())),
        (None, Some(uid)) => (uid, 0, None),
        (None, None) => return Err(Error::User(wanted.to_owned())),
    };
    let gid = match user.gid {
        Some(gid) => gid,
        None if wanted_group.is_empty() => primary,
        None => named_group(wanted_group, group)?,
    };
    let mut gids = vec![gid];
    if let (Some(account), false) = (&account, user.strict_groups) {
        let member = |members: &str| members.split(',').any(|name| name == account.name);
        gids.extend(groups(group).filter(|(.., members)| member(members)).map(|(_, gid, _)| gid));
    }
    gids.extend(&user.additional_gids);
    let mut seen = std::collections::BTreeSet::new();
    gids.retain(|gid| seen.insert(*gid));
    Ok(Identity { uid, gid, gids, home: home.filter(|home| !home.is_empty()) })
}

fn named_group(wanted: &str, group: &str) -> Result<u32, Error> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    let found = groups(group).find(|(name, ..)| *name == wanted);
    found.map(|(_, gid, _)| gid).ok_or_else(|| Error::Group(wanted.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:34::/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlog:x:40:other,web\nadm:x:41:web\n";

    fn resolved(user: &User) -> (u32, u32, Vec<u32>, Option<String>) {
        let who = resolve(user, PASSWD, GROUP).unwrap();
        (who.uid, who.gid, who.gids, who.home)
    }

    fn image(text: &str) -> User {
        User { image: text.to_owned(), ..User::default() }
    }

    #[test]
    fn the_images_user_is_a_name_or_a_number() {
        let web = (33, 34, vec![34, 40, 41], Some("/srv".to_owned()));
        assert_eq!(resolved(&image("web")), web);
        assert_eq!(resolved(&image("33")), web);
        assert_eq!(resolved(&image("")), (0, 0, vec![0], Some("/root".to_owned())));
        assert_eq!(resolved(&image("77")), (77, 0, vec![0], None));
        assert_eq!(resolved(&image("web:log")).1, 40);
        assert_eq!(resolved(&image("77:99")), (77, 99, vec![99], None));
        assert_eq!(resolve(&image("nobody"), PASSWD, GROUP), Err(Error::User("nobody".into())));
        assert_eq!(resolve(&image("web:x"), PASSWD, GROUP), Err(Error::Group("x".into())));
        assert_eq!(resolve(&image(""), "", "").unwrap().uid, 0);
    }

    #[test]
    fn settings_of_the_pod_override_the_image() {
        let mut user = image("web:log");
        user.uid = Some(1000);
        assert_eq!(resolved(&user), (1000, 0, vec![0], None));
        user.gid = Some(7);
        user.additional_gids = vec![40, 7, 50];
        assert_eq!(resolved(&user), (1000, 7, vec![7, 40, 50], None));
        user.uid = None;
        assert_eq!(resolved(&user).2, [7, 40, 41, 50]);
        user.strict_groups = true;
        assert_eq!(resolved(&user).2, [7, 40, 50]);
    }
}
