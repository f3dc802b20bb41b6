package normalize

// auditRecordTypesByNumber are the names of record types by number. Source: linux/audit.h and
// libaudit.h.
var auditRecordTypesByNumber = map[string]string{
	"1006": "LOGIN", "1100": "USER_AUTH", "1101": "USER_ACCT", "1102": "USER_MGMT", "1103": "CRED_ACQ", "1104": "CRED_DISP",
	"1105": "USER_START", "1106": "USER_END", "1107": "USER_AVC", "1108": "USER_CHAUTHTOK", "1109": "USER_ERR",
	"1110": "CRED_REFR", "1111": "USYS_CONFIG", "1112": "USER_LOGIN", "1113": "USER_LOGOUT", "1114": "ADD_USER",
	"1115": "DEL_USER", "1116": "ADD_GROUP", "1117": "DEL_GROUP", "1118": "DAC_CHECK", "1119": "CHGRP_ID", "1120": "TEST",
	"1121": "TRUSTED_APP", "1122": "USER_SELINUX_ERR", "1123": "USER_CMD", "1124": "USER_TTY", "1125": "CHUSER_ID",
	"1126": "GRP_AUTH", "1127": "SYSTEM_BOOT", "1128": "SYSTEM_SHUTDOWN", "1129": "SYSTEM_RUNLEVEL", "1130": "SERVICE_START",
	"1131": "SERVICE_STOP", "1132": "GRP_MGMT", "1133": "GRP_CHAUTHTOK", "1134": "MAC_CHECK", "1135": "ACCT_LOCK",
	"1136": "ACCT_UNLOCK", "1137": "USER_DEVICE", "1138": "SOFTWARE_UPDATE", "1200": "DAEMON_START", "1201": "DAEMON_END",
	"1202": "DAEMON_ABORT", "1203": "DAEMON_CONFIG", "1205": "DAEMON_ROTATE", "1206": "DAEMON_RESUME", "1300": "SYSCALL",
	"1302": "PATH", "1303": "IPC", "1304": "SOCKETCALL", "1305": "CONFIG_CHANGE", "1306": "SOCKADDR", "1307": "CWD",
	"1309": "EXECVE", "1311": "IPC_SET_PERM", "1312": "MQ_OPEN", "1317": "FD_PAIR", "1318": "OBJ_PID", "1319": "TTY",
	"1320": "EOE", "1321": "BPRM_FCAPS", "1322": "CAPSET", "1323": "MMAP", "1324": "NETFILTER_PKT", "1325": "NETFILTER_CFG",
	"1326": "SECCOMP", "1327": "PROCTITLE", "1328": "FEATURE_CHANGE", "1330": "KERN_MODULE", "1331": "FANOTIFY",
	"1332": "TIME_INJOFFSET", "1333": "TIME_ADJNTPVAL", "1334": "BPF", "1335": "EVENT_LISTENER", "1336": "URINGOP",
	"1337": "OPENAT2", "1400": "AVC", "1401": "SELINUX_ERR", "1403": "MAC_POLICY_LOAD", "1404": "MAC_STATUS",
	"1405": "MAC_CONFIG_CHANGE", "1700": "ANOM_PROMISCUOUS", "1701": "ANOM_ABEND", "1702": "ANOM_LINK", "1703": "ANOM_CREAT",
	"1800": "INTEGRITY_DATA", "1805": "INTEGRITY_RULE", "2404": "CRYPTO_KEY_USER", "2407": "CRYPTO_SESSION",
}

// auditFields are the names of fields in the records of the audit system. Source: the field
// dictionary of the audit project.
const auditFields = `a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 acct addr arch argc auid cap_fe cap_fi cap_fp cap_fver cgroup cmd comm cwd daddr data ` +
	`dev device dport egid euid exe exit family fd flags fsgid fsuid gid gpg_res grantors hostname id inode item items key laddr lport ` +
	`mode name nametype new_gid node obj objtype ogid op ouid path perm pid ppid proctitle proto rdev res result role root_dir saddr ` +
	`scontext ses sgid sig socktype sport subj success suid sw syscall tclass tcontext terminal tty type uid unit ver vm`

// encodedAuditFields are the fields whose values a program controls. The kernel
// writes them in quotes, or in hex if they contain special characters.
var encodedAuditFields = map[string]bool{
	"acct": true, "cmd": true, "comm": true, "cwd": true, "data": true, "dir": true, "exe": true, "file": true, "key": true,
	"name": true, "path": true, "proctitle": true, "root_dir": true, "vm": true, "watch": true,
}

// syscallNames are the names of the system calls that rules use, by architecture and
// number. auditd writes the names only with log_format = ENRICHED.
var syscallNames = map[string]map[string]string{
	"c000003e": { // x86-64
		"2": "open", "41": "socket", "42": "connect", "43": "accept", "49": "bind", "50": "listen", "56": "clone", "57": "fork",
		"59": "execve", "62": "kill", "76": "truncate", "82": "rename", "83": "mkdir", "84": "rmdir", "85": "creat", "86": "link",
		"87": "unlink", "88": "symlink", "90": "chmod", "91": "fchmod", "92": "chown", "93": "fchown", "94": "lchown", "99": "sysinfo",
		"101": "ptrace", "103": "syslog", "105": "setuid", "106": "setgid", "113": "setreuid", "117": "setresuid", "133": "mknod",
		"135": "personality", "155": "pivot_root", "161": "chroot", "165": "mount", "166": "umount2", "169": "reboot",
		"170": "sethostname", "175": "init_module", "176": "delete_module", "188": "setxattr", "246": "kexec_load", "257": "openat",
		"258": "mkdirat", "259": "mknodat", "260": "fchownat", "263": "unlinkat", "264": "renameat", "265": "linkat", "266": "symlinkat",
		"268": "fchmodat", "272": "unshare", "288": "accept4", "308": "setns", "310": "process_vm_readv", "311": "process_vm_writev",
		"313": "finit_module", "316": "renameat2", "319": "memfd_create", "320": "kexec_file_load", "321": "bpf", "322": "execveat",
		"437": "openat2",
	},
	"c00000b7": { // aarch64
		"33": "mknodat", "34": "mkdirat", "35": "unlinkat", "36": "symlinkat", "37": "linkat", "38": "renameat", "39": "umount2",
		"40": "mount", "51": "chroot", "52": "fchmod", "53": "fchmodat", "54": "fchownat", "55": "fchown", "56": "openat",
		"92": "personality", "97": "unshare", "104": "kexec_load", "105": "init_module", "106": "delete_module", "116": "syslog",
		"117": "ptrace", "129": "kill", "144": "setgid", "146": "setuid", "147": "setresuid", "179": "sysinfo", "198": "socket",
		"200": "bind", "201": "listen", "202": "accept", "203": "connect", "220": "clone", "221": "execve", "268": "setns",
		"270": "process_vm_readv", "271": "process_vm_writev", "273": "finit_module", "276": "renameat2", "279": "memfd_create",
		"280": "bpf", "281": "execveat", "437": "openat2",
	},
	"40000003": { // i386
		"5": "open", "8": "creat", "9": "link", "10": "unlink", "11": "execve", "14": "mknod", "15": "chmod", "21": "mount",
		"26": "ptrace", "37": "kill", "38": "rename", "39": "mkdir", "61": "chroot", "103": "syslog", "116": "sysinfo",
		"128": "init_module", "129": "delete_module", "136": "personality", "295": "openat", "297": "mknodat", "301": "unlinkat",
		"302": "renameat", "350": "finit_module", "356": "memfd_create", "357": "bpf", "358": "execveat", "359": "socket",
		"362": "connect",
	},
}
