package picket_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The systemd units bound what a compromised process can do, and systemd accepts them.
func TestSystemdUnits(t *testing.T) {
	units, err := filepath.Glob("deploy/systemd/*.service")
	if err != nil || len(units) != 3 {
		t.Fatalf("%q, %v", units, err)
	}
	dir := t.TempDir()
	for i, name := range units {
		text := read(t, name)
		for _, want := range []string{
			"MemoryMax=", "TasksMax=", "CapabilityBoundingSet=", "AmbientCapabilities=", "NoNewPrivileges=yes", "ProtectSystem=strict",
			"ProtectHome=", "PrivateDevices=yes", "RestrictNamespaces=yes", "MemoryDenyWriteExecute=yes", "RestrictAddressFamilies=AF_",
			"SystemCallFilter=@system-service", "SystemCallFilter=~@privileged", "SystemCallArchitectures=native",
		} {
			if !strings.Contains(text, "\n"+want) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
		if !regexp.MustCompile(`(?m)^(DynamicUser=yes|User=picket)$`).MatchString(text) {
			t.Errorf("%s runs as root", name)
		}
		// The binary and the user need not exist here.
		text = strings.ReplaceAll(strings.ReplaceAll(text, "/usr/local/bin/picket", "/bin/sh"), "User=picket\n", "DynamicUser=yes\n")
		units[i] = filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(units[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify"}, units...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("systemd-analyze is not installed")
	}
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v: %s", err, out)
	}
}

// A networkPolicy is what the test reads of a NetworkPolicy of Kubernetes.
type networkPolicy struct {
	Kind string
	Spec struct {
		PodSelector     struct{ MatchLabels map[string]string } `yaml:"podSelector"`
		PolicyTypes     []string                                `yaml:"policyTypes"`
		Ingress, Egress []struct{ Ports []struct{ Port int } }
	}
}

// On Kubernetes, nothing but port 8000 can be reached, and nothing but DNS, Redis and
// MongoDB from there.
func TestNetworkPolicies(t *testing.T) {
	var denied bool
	var in, out []int
	for dec := yaml.NewDecoder(bytes.NewReader([]byte(read(t, "deploy/kubernetes/picket.yaml")))); ; {
		var p networkPolicy
		err := dec.Decode(&p)
		if err == io.EOF {
			break
		}
		if err != nil && p.Kind == "NetworkPolicy" {
			t.Fatal(err)
		}
		if p.Kind != "NetworkPolicy" {
			continue
		}
		if len(p.Spec.PodSelector.MatchLabels) == 0 && len(p.Spec.Ingress)+len(p.Spec.Egress) == 0 {
			denied = slices.Equal(p.Spec.PolicyTypes, []string{"Ingress", "Egress"})
		}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				in = append(in, port.Port)
			}
		}
		for _, rule := range p.Spec.Egress {
			for _, port := range rule.Ports {
				out = append(out, port.Port)
			}
		}
	}
	slices.Sort(out)
	if d := cmp.Diff([]int{8000}, in) + cmp.Diff([]int{53, 53, 6379, 6380, 27017}, out); d != "" || !denied {
		t.Errorf("default is denied: %t; ports %s", denied, d)
	}
}
