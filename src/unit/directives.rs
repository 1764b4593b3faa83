//! The names of systemd's directives for services, sockets and timers, as of version 257 and with the old names it still reads.
//!
//! A key that systemd has and we have not is refused as such, so that nothing that restricts a service is ignored in
//! silence. Sources: systemd.directives(7) and the news of versions 253 to 257.

use super::similar::plain;

/// systemd's own spelling of `key`, whatever its case and underscores, if it is a directive of systemd.
pub(super) fn systemd_directive(key: &str) -> Option<&'static str> {
    let wanted = plain(key);
    DIRECTIVES.iter().copied().find(|name| plain(name) == wanted)
}

/// How to write what a directive means that we do not read, where there is a way.
pub(super) fn successor(directive: &str) -> Option<&'static str> {
    if directive.starts_with("Startup") {
        return Some(NO_STARTUP);
    }
    SUCCESSORS.iter().find(|(old, _)| *old == directive).map(|(_, help)| *help)
}

const SUCCESSORS: [(&str, &str); 7] = [
    ("BlockIOAccounting", "write io_accounting"),
    ("BlockIODeviceWeight", "write io_device_weight, a fifth of the value"),
    ("BlockIOReadBandwidth", "write io_read_bandwidth_max"),
    ("BlockIOWeight", "write io_weight, a fifth of the value"),
    ("BlockIOWriteBandwidth", "write io_write_bandwidth_max"),
    ("CPUShares", "write cpu_weight: 1024 shares are a weight of 100"),
    ("MemoryLimit", "write memory_max"),
];
/// A supervisor of services does not know when the machine has come up.
const NO_STARTUP: &str = "a machine's start is no time of its own here; the key without startup_ holds always";

#[rustfmt::skip]
const DIRECTIVES: &[&str] = &[
    "Accept", "AccuracySec", "After", "Alias", "AllowIsolate", "AllowedCPUs", "AllowedMemoryNodes", "Also",
    "AmbientCapabilities", "AppArmorProfile", "AssertACPower", "AssertArchitecture", "AssertCPUFeature",
    "AssertCPUPressure", "AssertCPUs", "AssertCapability", "AssertControlGroupController", "AssertCredential",
    "AssertDirectoryNotEmpty", "AssertEnvironment", "AssertFileIsExecutable", "AssertFileNotEmpty", "AssertFirstBoot",
    "AssertGroup", "AssertHost", "AssertIOPressure", "AssertKernelCommandLine", "AssertKernelVersion", "AssertMemory",
    "AssertMemoryPressure", "AssertNeedsUpdate", "AssertOSRelease", "AssertPathExists", "AssertPathExistsGlob",
    "AssertPathIsDirectory", "AssertPathIsEncrypted", "AssertPathIsMountPoint", "AssertPathIsReadWrite",
    "AssertPathIsSymbolicLink", "AssertSecurity", "AssertUser", "AssertVirtualization", "BPFProgram", "Backlog",
    "Before", "BindIPv6Only", "BindPaths", "BindReadOnlyPaths", "BindTo", "BindToDevice", "BindsTo",
    "BlockIOAccounting", "BlockIODeviceWeight", "BlockIOReadBandwidth", "BlockIOWeight", "BlockIOWriteBandwidth",
    "Broadcast", "BusName", "CPUAccounting", "CPUAffinity", "CPUQuota", "CPUQuotaPeriodSec", "CPUSchedulingPolicy",
    "CPUSchedulingPriority", "CPUSchedulingResetOnFork", "CPUShares", "CPUWeight", "CacheDirectory",
    "CacheDirectoryMode", "CapabilityBoundingSet", "CollectMode", "ConditionACPower", "ConditionArchitecture",
    "ConditionCPUFeature", "ConditionCPUPressure", "ConditionCPUs", "ConditionCapability",
    "ConditionControlGroupController", "ConditionCredential", "ConditionDirectoryNotEmpty", "ConditionEnvironment",
    "ConditionFileIsExecutable", "ConditionFileNotEmpty", "ConditionFirmware", "ConditionFirstBoot", "ConditionGroup",
    "ConditionHost", "ConditionIOPressure", "ConditionKernelCommandLine", "ConditionKernelVersion", "ConditionMemory",
    "ConditionMemoryPressure", "ConditionNeedsUpdate", "ConditionOSRelease", "ConditionPathExists",
    "ConditionPathExistsGlob", "ConditionPathIsDirectory", "ConditionPathIsEncrypted", "ConditionPathIsMountPoint",
    "ConditionPathIsReadWrite", "ConditionPathIsSymbolicLink", "ConditionSecurity", "ConditionUser",
    "ConditionVersion", "ConditionVirtualization", "ConfigurationDirectory", "ConfigurationDirectoryMode",
    "Conflicts", "CoredumpFilter", "CoredumpReceive", "DefaultDependencies", "DefaultInstance", "DefaultMemoryLow",
    "DefaultMemoryMin", "DefaultStartupMemoryLow", "DeferAcceptSec", "DeferReactivation", "Delegate",
    "DelegateSubgroup", "Description", "DeviceAllow", "DevicePolicy", "DirectoryMode", "DisableControllers",
    "Documentation", "DynamicUser", "Environment", "EnvironmentFile", "ExecCondition", "ExecPaths", "ExecReload",
    "ExecSearchPath", "ExecStart", "ExecStartPost", "ExecStartPre", "ExecStop", "ExecStopPost", "ExecStopPre",
    "ExitType", "ExtensionDirectories", "ExtensionImagePolicy", "ExtensionImages", "FailureAction",
    "FailureActionExitStatus", "FileDescriptorName", "FileDescriptorStoreMax", "FileDescriptorStorePreserve",
    "FinalKillSignal", "FixedRandomDelay", "FlushPending", "FreeBind", "FsckPassNo", "Group", "GuessMainPID",
    "IOAccounting", "IODeviceLatencyTargetSec", "IODeviceWeight", "IOReadBandwidthMax", "IOReadIOPSMax",
    "IOSchedulingClass", "IOSchedulingPriority", "IOWeight", "IOWriteBandwidthMax", "IOWriteIOPSMax", "IPAccounting",
    "IPAddressAllow", "IPAddressDeny", "IPCNamespacePath", "IPEgressFilterPath", "IPIngressFilterPath", "IPTOS",
    "IPTTL", "IgnoreOnIsolate", "IgnoreSIGPIPE", "ImportCredential", "InaccessibleDirectories", "InaccessiblePaths",
    "JobRunningTimeoutSec", "JobTimeoutAction", "JobTimeoutRebootArgument", "JobTimeoutSec", "JoinsNamespaceOf",
    "KeepAlive", "KeepAliveIntervalSec", "KeepAliveProbes", "KeepAliveTimeSec", "KeyringMode", "KillMode",
    "KillSignal", "LimitAS", "LimitCORE", "LimitCPU", "LimitDATA", "LimitFSIZE", "LimitLOCKS", "LimitMEMLOCK",
    "LimitMSGQUEUE", "LimitNICE", "LimitNOFILE", "LimitNPROC", "LimitRSS", "LimitRTPRIO", "LimitRTTIME",
    "LimitSIGPENDING", "LimitSTACK", "ListenDatagram", "ListenFIFO", "ListenMessageQueue", "ListenNetlink",
    "ListenSequentialPacket", "ListenSpecial", "ListenStream", "ListenUSBFunction", "LoadCredential",
    "LoadCredentialEncrypted", "LockPersonality", "LogExtraFields", "LogFilterPatterns", "LogLevelMax",
    "LogNamespace", "LogRateLimitBurst", "LogRateLimitIntervalSec", "LogsDirectory", "LogsDirectoryMode",
    "ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureDurationSec", "ManagedOOMMemoryPressureLimit",
    "ManagedOOMPreference", "ManagedOOMSwap", "Mark", "MaxConnections", "MaxConnectionsPerSource", "MemoryAccounting",
    "MemoryDenyWriteExecute", "MemoryHigh", "MemoryKSM", "MemoryLimit", "MemoryLow", "MemoryMax", "MemoryMin",
    "MemoryPressureThresholdSec", "MemoryPressureWatch", "MemorySwapMax", "MemoryZSwapMax", "MemoryZSwapWriteback",
    "MessageQueueMaxMessages", "MessageQueueMessageSize", "MountAPIVFS", "MountFlags", "MountImagePolicy",
    "MountImages", "NFTSet", "NUMAMask", "NUMAPolicy", "NetworkNamespacePath", "Nice", "NoDelay", "NoExecPaths",
    "NoNewPrivileges", "NonBlocking", "NotifyAccess", "OOMPolicy", "OOMScoreAdjust", "OnActiveSec", "OnBootSec",
    "OnCalendar", "OnClockChange", "OnFailure", "OnFailureIsolate", "OnFailureJobMode", "OnStartupSec", "OnSuccess",
    "OnSuccessJobMode", "OnTimezoneChange", "OnUnitActiveSec", "OnUnitInactiveSec", "OpenFile", "PAMName", "PIDFile",
    "PartOf", "PassCredentials", "PassEnvironment", "PassFileDescriptorsToExec", "PassPacketInfo", "PassSecurity",
    "PermissionsStartOnly", "Persistent", "Personality", "PipeSize", "PollLimitBurst", "PollLimitIntervalSec",
    "Priority", "PrivateDevices", "PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivatePIDs", "PrivateTmp",
    "PrivateUsers", "ProcSubset", "PropagateReloadFrom", "PropagateReloadTo", "PropagatesReloadTo",
    "PropagatesStopTo", "ProtectClock", "ProtectControlGroups", "ProtectHome", "ProtectHostname", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem", "RandomizedDelaySec",
    "ReadOnlyDirectories", "ReadOnlyPaths", "ReadWriteDirectories", "ReadWritePaths", "RebootArgument",
    "ReceiveBuffer", "RefuseManualStart", "RefuseManualStop", "ReloadPropagatedFrom", "ReloadSignal",
    "RemainAfterElapse", "RemainAfterExit", "RemoveIPC", "RemoveOnStop", "RequiredBy", "Requires",
    "RequiresMountsFor", "RequiresOverridable", "Requisite", "RequisiteOverridable", "Restart",
    "RestartForceExitStatus", "RestartKillSignal", "RestartMaxDelaySec", "RestartMode", "RestartPreventExitStatus",
    "RestartSec", "RestartSteps", "RestrictAddressFamilies", "RestrictFileSystems", "RestrictNamespaces",
    "RestrictNetworkInterfaces", "RestrictRealtime", "RestrictSUIDSGID", "ReusePort", "RootDirectory",
    "RootDirectoryStartOnly", "RootEphemeral", "RootHash", "RootHashSignature", "RootImage", "RootImageOptions",
    "RootImagePolicy", "RootVerity", "RuntimeDirectory", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve",
    "RuntimeMaxSec", "RuntimeRandomizedExtraSec", "SELinuxContext", "SELinuxContextFromNet", "SecureBits",
    "SendBuffer", "SendSIGHUP", "SendSIGKILL", "Service", "SetCredential", "SetCredentialEncrypted",
    "SetLoginEnvironment", "Slice", "SmackLabel", "SmackLabelIPIn", "SmackLabelIPOut", "SmackProcessLabel",
    "SocketBindAllow", "SocketBindDeny", "SocketGroup", "SocketMode", "SocketProtocol", "SocketUser", "Sockets",
    "SourcePath", "StandardError", "StandardInput", "StandardInputData", "StandardInputText", "StandardOutput",
    "StartLimitAction", "StartLimitBurst", "StartLimitInterval", "StartLimitIntervalSec", "StartupAllowedCPUs",
    "StartupAllowedMemoryNodes", "StartupBlockIOWeight", "StartupCPUShares", "StartupCPUWeight", "StartupIOWeight",
    "StartupMemoryHigh", "StartupMemoryLow", "StartupMemoryMax", "StartupMemorySwapMax", "StartupMemoryZSwapMax",
    "StateDirectory", "StateDirectoryMode", "StopPropagatedFrom", "StopWhenUnneeded", "SuccessAction",
    "SuccessActionExitStatus", "SuccessExitStatus", "SupplementaryGroups", "SurviveFinalKillSignal", "Symlinks",
    "SysVStartPriority", "SyslogFacility", "SyslogIdentifier", "SyslogLevel", "SyslogLevelPrefix",
    "SystemCallArchitectures", "SystemCallErrorNumber", "SystemCallFilter", "SystemCallLog", "TCPCongestion",
    "TTYColumns", "TTYPath", "TTYReset", "TTYRows", "TTYVHangup", "TTYVTDisallocate", "TasksAccounting", "TasksMax",
    "TemporaryFileSystem", "TimeoutAbortSec", "TimeoutCleanSec", "TimeoutSec", "TimeoutStartFailureMode",
    "TimeoutStartSec", "TimeoutStopFailureMode", "TimeoutStopSec", "TimerSlackNSec", "Timestamping", "Transparent",
    "TriggerLimitBurst", "TriggerLimitIntervalSec", "Type", "UMask", "USBFunctionDescriptors", "USBFunctionStrings",
    "Unit", "UnsetEnvironment", "UpheldBy", "Upholds", "User", "UtmpIdentifier", "UtmpMode", "WakeSystem", "WantedBy",
    "Wants", "WantsMountsFor", "WatchdogSec", "WatchdogSignal", "WorkingDirectory", "Writable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_is_known_in_every_spelling() {
        for key in ["protect_system", "ProtectSystem", "protectsystem", "PROTECT_SYSTEM"] {
            assert_eq!(systemd_directive(key), Some("ProtectSystem"), "{key}");
        }
        assert_eq!(systemd_directive("memory_ksm"), Some("MemoryKSM"));
        assert_eq!(systemd_directive("restrat"), None);
    }

    #[test]
    fn old_names_are_directives_too() {
        for (old, _) in SUCCESSORS {
            assert_eq!(systemd_directive(old), Some(old));
        }
        assert_eq!(successor("StartupCPUWeight"), Some(NO_STARTUP));
        assert_eq!(successor("StartLimitInterval"), None);
    }

    #[test]
    fn the_list_is_sorted_and_has_no_name_twice() {
        assert!(DIRECTIVES.is_sorted_by(|a, b| a < b));
    }
}
