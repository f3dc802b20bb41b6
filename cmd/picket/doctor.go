package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/picket-edr/picket/internal/agent"
	"github.com/picket-edr/picket/internal/doctor"
	"github.com/picket-edr/picket/internal/queue/sqlitequeue"
)

// doctorFlags are the settings of picket doctor. Those that are not given are the running
// server's.
type doctorFlags struct {
	store           *storeLocation
	queue, cache    string
	redisDurability string
	minFree         int64
	listen, server  string
	tlsCert, caFile string
	token           tokenOrFileFlags
	rules           []string
	json            bool
	repair          bool
}

func newDoctor() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check ports, disk, clock, queue, store, cache, rules and token; say what to do",
		Long: `Checks ports, disk, clock, queue, store, cache, rules and token, and says what to do.
It exits with 1 if a check fails; a warning is no failure. What no flag says, it takes
from the server that was started last on the data directory.

With --repair, it exits with 1 if something could not be saved.`,
		Args: cobra.NoArgs,
	}
	f.store = addStoreFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8000", "the server's `ADDR`")
	fl.StringVar(&f.queue, "queue", "sqlite", queueUsage)
	fl.StringVar(&f.redisDurability, "redis-durability", "reply", "`WHEN` Redis counts as having stored an event, as the server has it")
	fl.StringVar(&f.cache, "cache", "memory", cacheUsage)
	fl.Int64Var(&f.minFree, "min-free-disk", sqlitequeue.DefaultMinFreeDisk, "`BYTES` of disk that the server keeps free")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "certificate `FILE` of the server, if it serves TLS")
	fl.StringVar(&f.server, "server", "", "the server's `URL`; default: that of --listen")
	addTokenOrFileFlags(cmd, &f.token, "an agent's or collector's `TOKEN` to test")
	fl.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the CA certificates of the server")
	fl.StringArrayVar(&f.rules, "rules", []string{"builtin"}, "rules to check: builtin, or a `PATH` (repeatable)")
	fl.BoolVar(&f.json, "json", false, "print JSON, one check per line")
	fl.BoolVar(&f.repair, "repair", false, "replace the damaged files of the data directory by what can be read of them, instead of the checks; nothing may use the directory")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.repair {
			return repairDataDir(cmd, *f.store, f.json)
		}
		r, err := runChecks(cmd, &f)
		if err != nil {
			return err
		}
		if err := printFindings(cmd.OutOrStdout(), r.Findings, f.json); err != nil {
			return err
		}
		if !r.Healthy() {
			return errSilent
		}
		return nil
	}
	return cmd
}

// runChecks runs all checks.
func runChecks(cmd *cobra.Command, f *doctorFlags) (*doctor.Report, error) {
	unknown, err := f.completeFromServer(cmd)
	if err != nil {
		return nil, err
	}
	queue, err := findQueueBackend(f.queue, f.redisDurability)
	if err != nil {
		return nil, err
	}
	store, err := f.store.backend()
	if err := errors.Join(err, checkCache(f.cache)); err != nil {
		return nil, err
	}
	token, err := f.token.optionalToken()
	if err != nil {
		return nil, err
	}
	transport, err := f.transport()
	if err != nil {
		return nil, err
	}
	isKnown := func(flag string) bool { return !slices.Contains(unknown, flag) }
	ctx, dir, r := cmd.Context(), dataDir(f.store.data), new(doctor.Report)
	needsDir := queue.local && isKnown("queue") || store.local && isKnown("store")
	doctor.CheckDisk(r, f.store.data, needsDir, f.minFree, sqlitequeue.FreeDiskBytes)
	for _, flag := range unknown {
		doctor.ReportHiddenSetting(r, flag)
	}
	if isKnown("queue") {
		queue.diagnose(ctx, r, f.queue, f.redisDurability, dir)
	}
	if isKnown("store") {
		store.diagnose(ctx, r, *f.store)
	}
	if isKnown("queue") && isKnown("store") {
		doctor.CheckFilesBelongTogether(ctx, r, doctor.DataFiles{
			Dir: string(dir), Queue: dir.queueFile(), DiskBuffer: dir.diskBufferFile(), Store: dir.eventsFile(),
			UsesQueue: queue.local, UsesBuffer: !queue.local, UsesStore: store.local,
		})
	}
	if f.cache != "memory" {
		doctor.CheckRedisCache(ctx, r, f.cache)
	}
	if sources, err := serverRuleSources(dir, f.rules); err != nil {
		doctor.ReportUnreadableRules(r, err)
	} else {
		doctor.CheckRules(r, sources)
	}
	s := doctor.Server{URL: f.server, Token: token, Client: &http.Client{Transport: transport, Timeout: 5 * time.Second}}
	s.Check(ctx, r)
	return r, nil
}

// completeFromServer sets the flags that were not given to those of the server that was
// started last on the data directory. It returns the flags that remain unknown.
func (f *doctorFlags) completeFromServer(cmd *cobra.Command) (unknown []string, err error) {
	isGiven := func(name string) bool { return isSet(cmd.Flags().Lookup(name)) }
	serverGiven, listenGiven, certGiven := isGiven("server"), isGiven("listen"), isGiven("tls-cert")
	record, err := readServerRecord(dataDir(f.store.data))
	if err != nil {
		return nil, err
	}
	if record != nil {
		if unknown, err = record.applyTo(cmd); err != nil {
			return nil, err
		}
		if !listenGiven {
			f.listen = record.Listen
		}
		if !certGiven && localURL(f.listen) != localURL(record.Listen) {
			f.tlsCert = "" // of another server
		}
	}
	switch {
	case serverGiven:
		f.tlsCert = "" // that address is checked as an agent would
	case f.tlsCert != "":
		f.server = "https://" + localURL(f.listen)
	default:
		f.server = "http://" + localURL(f.listen)
	}
	return unknown, nil
}

// transport returns a transport that trusts --ca-file, or else exactly the server's own
// certificate, whatever names are in it.
func (f *doctorFlags) transport() (*http.Transport, error) {
	transport, err := agent.NewTransport(f.caFile)
	if err != nil || f.caFile != "" || f.tlsCert == "" {
		return transport, err
	}
	content, err := os.ReadFile(f.tlsCert)
	block, _ := pem.Decode(content)
	if err != nil || block == nil { // only the server's user may be able to read it
		return transport, nil
	}
	transport.TLSClientConfig = &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection compares the certificate instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if shown := state.PeerCertificates[0]; !bytes.Equal(shown.Raw, block.Bytes) {
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates,
					Err: x509.CertificateInvalidError{Cert: shown, Detail: fmt.Sprintf("it is not the one in %s; has the server been restarted since that changed?", f.tlsCert)}}
			}
			return nil
		},
	}
	return transport, nil
}

// printFindings prints a line a finding, and one for its hint.
func printFindings(w io.Writer, findings []doctor.Finding, asJSON bool) error {
	for _, f := range findings {
		if asJSON {
			if err := printJSONLine(w, f); err != nil {
				return err
			}
			continue
		}
		state := "ok  "
		switch {
		case !f.OK:
			state = "FAIL"
		case f.Warning:
			state = "warn"
		}
		fprintfPrintable(w, "%s  %-6s %s\n", state, f.Check, f.Text)
		if f.Hint != "" {
			fprintfPrintable(w, "             hint: %s\n", f.Hint)
		}
	}
	return nil
}
