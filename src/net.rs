//! Packets between pods, services and the world: makes the kernel match plain structs.
