package ruleconvert

import (
	"errors"
	"fmt"
	"strings"
)

// sigmaFieldNames maps fields of the legacy agent's events to Sigma's names, as package
// normalize does. Other fields keep their names.
var sigmaFieldNames = map[string]map[string]string{
	"process": {
		"process.name": "Image", "process.pid": "ProcessId", "process.command_line": "CommandLine", "process.user": "User",
		"process.working_directory": "CurrentDirectory", "process.parent_image": "ParentImage",
		"process.parent_command_line": "ParentCommandLine", "process.parent_pid": "ParentProcessId", "process.parent_user": "ParentUser",
		"process.integrity_level": "IntegrityLevel", "process.hashes": "Hashes", "process.original_file_name": "OriginalFileName",
		"process.product": "Product", "process.company": "Company", "process.description": "Description",
		"process.file_version": "FileVersion", "process.logon_id": "LogonId", "process.guid": "ProcessGuid", "process.parent_guid": "ParentProcessGuid",
	},
	"file": {
		"file.path": "TargetFilename", "file.process_image": "Image", "file.image": "Image", "file.pid": "ProcessId", "file.user": "User",
	},
	"network": {
		"network.source_ip": "SourceIp", "network.source_port": "SourcePort", "network.dest_ip": "DestinationIp",
		"network.dest_port": "DestinationPort", "network.dest_hostname": "DestinationHostname", "network.protocol": "Protocol",
		"network.image": "Image", "network.pid": "ProcessId", "network.user": "User",
	},
}

// sigmaFieldName returns Sigma's name of a field of an entity type's events.
func sigmaFieldName(entityType, field string) (string, error) {
	if field == "" {
		return "", errors.New("it has no field")
	}
	if strings.ContainsAny(field, "|\n") {
		return "", fmt.Errorf("a field can't be called %q in Sigma", field)
	}
	if name, ok := sigmaFieldNames[entityType][field]; ok {
		return name, nil
	}
	switch first, rest, _ := strings.Cut(field, "."); {
	case first == entityType && rest == "", first == "host" && rest == "":
		return "", fmt.Errorf("%s is no field, but a group of them", field)
	case sigmaFieldNames[first] != nil && first != entityType:
		return "", fmt.Errorf("events of type %s have no %s, so it never held", entityType, field)
	case field == "host.hostname":
		return "Computer", nil
	case field == "network.initiated":
		return "", errors.New("network.initiated is true or false, which the legacy system compared with True and False")
	}
	for _, of := range sigmaFieldNames {
		for _, name := range of {
			if field == name {
				return "", fmt.Errorf("%s is Sigma's name of a field, which the legacy system did not know", field)
			}
		}
	}
	return field, nil
}
