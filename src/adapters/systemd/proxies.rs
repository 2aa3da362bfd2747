//! The few members of systemd's and logind's D-Bus interfaces that lockkeeper uses.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant};

/// One row of `ListUnitsByPatterns`: name, description, load, active and sub state, followed unit,
/// object path, job id, job type, job path.
pub type UnitRow =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// One row of `ListInhibitors`: what, who, why, mode, user id, process id.
pub type InhibitorRow = (String, String, String, String, u32, u32);

/// `org.freedesktop.systemd1(5)`, the manager.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
pub trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Variant<'_>)],
        auxiliary: &[(&str, Vec<(&str, Variant<'_>)>)],
    ) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn try_restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reload(&self) -> zbus::Result<()>;
    fn reexecute(&self) -> zbus::Result<()>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn list_units_by_patterns(
        &self,
        states: &[&str],
        patterns: &[&str],
    ) -> zbus::Result<Vec<UnitRow>>;
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: OwnedObjectPath,
        unit: String,
        result: String,
    ) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn system_state(&self) -> zbus::Result<String>;
}

/// All properties of an object at once: one consistent look, and never a cached one. systemd takes
/// the empty interface name for "all interfaces".
#[zbus::proxy(
    interface = "org.freedesktop.DBus.Properties",
    default_service = "org.freedesktop.systemd1"
)]
pub trait Look {
    fn get(&self, interface_name: &str, property: &str) -> zbus::Result<OwnedVariant>;
    fn get_all(&self, interface_name: &str) -> zbus::Result<HashMap<String, OwnedVariant>>;
}

/// One row of `ListSessions`: id, user id, user name, seat, object path.
pub type SessionRow = (String, u32, String, String, OwnedObjectPath);

/// One row of `ListUsers`: user id, user name, object path.
pub type UserRow = (u32, String, OwnedObjectPath);

/// `org.freedesktop.login1(5)`, the manager.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
pub trait Login {
    fn list_inhibitors(&self) -> zbus::Result<Vec<InhibitorRow>>;
    fn list_sessions(&self) -> zbus::Result<Vec<SessionRow>>;
    fn list_users(&self) -> zbus::Result<Vec<UserRow>>;
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
    fn reboot_with_flags(&self, flags: u64) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;
}

/// `org.freedesktop.timedate1(5)`.
#[zbus::proxy(
    interface = "org.freedesktop.timedate1",
    default_service = "org.freedesktop.timedate1",
    default_path = "/org/freedesktop/timedate1"
)]
pub trait Timedate {
    #[zbus(property(emits_changed_signal = "false"), name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> zbus::Result<bool>;
}

/// One row of `ListMachines`: name, class, what runs it, object path.
pub type MachineRow = (String, String, String, OwnedObjectPath);

/// `org.freedesktop.machine1(5)`, the manager.
#[zbus::proxy(
    interface = "org.freedesktop.machine1.Manager",
    default_service = "org.freedesktop.machine1",
    default_path = "/org/freedesktop/machine1"
)]
pub trait Machines {
    fn list_machines(&self) -> zbus::Result<Vec<MachineRow>>;
}
