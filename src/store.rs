//! Makes that history durable; its only writer.
