//! reboot
