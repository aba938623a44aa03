//! What runs beside the API server, each in a task of its own.

use tokio::task::JoinSet;

use crate::limits;
use crate::util::backoff::Backoff;

/// Tasks that run until they are stopped together.
#[derive(Default)]
pub(crate) struct Tasks {
    running: JoinSet<()>,
}

impl Tasks {
    /// Runs what `start` makes, and makes it anew should it ever end or panic: the API and the
    /// other parts go on meanwhile.
    pub(crate) fn run<F>(&mut self, name: &'static str, start: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.running.spawn(async move {
            let mut backoff = Backoff::new(limits::PANIC_BACKOFF_FIRST, limits::PANIC_BACKOFF_MAX);
            loop {
                // Alone in its set: dropping the set ends it with this task.
                let mut one = JoinSet::new();
                one.spawn(start());
                match one.join_next().await {
                    Some(Err(error)) => tracing::error!(part = name, %error, "a part failed"),
                    _ => tracing::error!(part = name, "a part ended of itself"),
                }
                tokio::time::sleep(backoff.fail()).await;
            }
        });
    }

    /// Stops all tasks, wherever they are, and waits until they are gone.
    pub(crate) async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn what_panics_starts_again_and_all_stop_together() {
        let started = Arc::new(Notify::new());
        let mut tasks = Tasks::default();
        let signal = Arc::clone(&started);
        tasks.run("test", move || {
            let signal = Arc::clone(&signal);
            async move {
                signal.notify_one();
                panic!("on purpose");
            }
        });
        started.notified().await;
        started.notified().await;
        tasks.stop().await;
    }
}
