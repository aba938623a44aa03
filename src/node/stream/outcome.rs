//! How a remote command ended, in the forms that clients of all ages read.

use crate::api::tree::Value;

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The program ended with this code.
    Exit(i32),
    /// It could not be run, or was lost: why.
    Failed(String),
}

impl Outcome {
    /// The `Status` that newer protocols send on the error stream.
    pub fn status(&self) -> Value {
        match self {
            Self::Exit(0) => {
                Value::from([("metadata", Value::object()), ("status", "Success".into())])
            }
            Self::Exit(code) => {
                let cause = Value::from([
                    ("reason", "ExitCode".into()),
                    ("message", code.to_string().into()),
                ]);
                Value::from([
                    ("metadata", Value::object()),
                    ("status", "Failure".into()),
                    ("reason", "NonZeroExitCode".into()),
                    ("message", message(*code).into()),
                    ("details", Value::from([("causes", vec![cause].into())])),
                ])
            }
            Self::Failed(why) => Value::from([
                ("metadata", Value::object()),
                ("status", "Failure".into()),
                ("reason", "InternalError".into()),
                ("code", 500i64.into()),
                ("message", format!("Internal error occurred: {why}").into()),
                (
                    "details",
                    Value::from([(
                        "causes",
                        vec![Value::from([("message", why.as_str().into())])].into(),
                    )]),
                ),
            ]),
        }
    }

    /// The text that older protocols send there; empty for success.
    pub fn text(&self) -> String {
        match self {
            Self::Exit(0) => String::new(),
            Self::Exit(code) => message(*code),
            Self::Failed(why) => why.clone(),
        }
    }
}

fn message(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit status {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_where_clients_look() {
        let status = Outcome::Exit(5).status();
        assert_eq!(status.get("reason").str(), "NonZeroExitCode");
        let cause = &status.at(&["details", "causes"]).items()[0];
        assert_eq!((cause.get("reason").str(), cause.get("message").str()), ("ExitCode", "5"));
        assert_eq!(Outcome::Exit(0).status().get("status").str(), "Success");
        assert_eq!(Outcome::Exit(0).text(), "");
        assert!(Outcome::Failed("no".into()).status().get("message").str().ends_with("no"));
    }
}
