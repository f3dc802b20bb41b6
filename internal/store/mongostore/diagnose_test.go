package mongostore_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/picket-edr/picket"
	"github.com/picket-edr/picket/internal/store"
	"github.com/picket-edr/picket/internal/store/mongostore"
	"github.com/picket-edr/picket/internal/store/mongostore/mongotest"
)

// Diagnose describes a database without changing it.
func TestDiagnose(t *testing.T) {
	server := mongotest.Start(t)
	uri := server.Database(t)
	diagnose := func() mongostore.ServerReport {
		t.Helper()
		r, err := mongostore.Diagnose(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Warnings()) > 0 || r.ReplicaSet == "" || r.Version == "" || r.ClockOffset.Abs() > time.Second {
			t.Errorf("%+v, %v", r, r.Warnings())
		}
		return r
	}
	for range 2 { // the first call leaves nothing behind
		if r := diagnose(); r.Initialized || !strings.HasSuffix(r.String(), "nothing yet") {
			t.Errorf("an empty database: %s", r)
		}
	}
	s := open(t, uri, mongostore.Options{})
	ev := picket.Event{ID: "e", AgentID: "a", Host: "h", Type: "t", Received: time.Now(), Time: time.Now(), Raw: []byte("{}")}
	m := picket.Match{ID: "m", RuleID: "r", EventID: "e", AgentID: "a", Host: "h", Title: "r", Time: time.Now()}
	if _, err := s.Save(t.Context(), store.Batch{ID: "b", Events: []picket.Event{ev}, Matches: []picket.Match{m}}); err != nil {
		t.Fatal(err)
	}
	if r := diagnose(); !r.Initialized || r.Events != 1 || r.Alerts != 1 || !strings.Contains(r.String(), "1 events, 1 alerts") {
		t.Errorf("with an alert: %s", r)
	}
	client, name := driver(t, uri)
	if err := client.Database(name).Collection("tokens").Indexes().DropOne(t.Context(), "hash"); err != nil {
		t.Fatal(err)
	}
	r, err := mongostore.Diagnose(t.Context(), uri)
	if err != nil || len(r.Warnings()) != 1 || !strings.Contains(r.Warnings()[0].Text, "tokens.hash") {
		t.Errorf("an index is missing: %v, %v", r.Warnings(), err)
	}
}

// driver returns a client and the name of a database, to bypass the store.
func driver(t *testing.T, uri string) (client *mongo.Client, name string) {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Disconnect(t.Context()) })
	return client, uri[strings.LastIndexByte(uri, '/')+1:]
}

// The kind of the error says why a database cannot be examined.
func TestDiagnoseErrors(t *testing.T) {
	server := mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0")
	standalone := mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0", "--standalone")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	foreign := server.Database(t)
	client, name := driver(t, foreign)
	if _, err := client.Database(name).Collection("alerts").InsertOne(t.Context(), bson.M{"severity": "high"}); err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]error{
		"mongodb://": picket.ErrInvalid,
		"mongodb://" + closed.Addr().String() + "/x?serverSelectionTimeoutMS=200": picket.ErrUnavailable,
		"mongodb://picket:secret@" + server.Addr() + "/x":                         mongostore.ErrAccessDenied,
		"mongodb://" + standalone.Addr() + "/x":                                   mongostore.ErrNoTransactions,
		foreign:                                                                   picket.ErrConflict,
	} {
		if _, err := mongostore.Diagnose(t.Context(), uri); !errors.Is(err, want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want %v", uri, err, want)
		}
	}
}

// Every problem of a server has its warning, and a good server has none.
func TestWarnings(t *testing.T) {
	set := mongostore.ServerReport{ServerInfo: mongostore.ServerInfo{Version: "7.0.5", ReplicaSet: "rs0", Members: 3}, Initialized: true}
	for _, c := range []struct {
		change  func(r *mongostore.ServerReport)
		warning string // none: ""
		text    string
	}{
		{func(*mongostore.ServerReport) {}, "", "replica set rs0 of 3, writes wait for a majority"},
		{func(r *mongostore.ServerReport) { r.Members = 2 }, "has 2 members", "both members"},
		{func(r *mongostore.ServerReport) { r.Members = 1 }, "", "replica set rs0 of 1, writes wait for the server's journal"},
		{func(r *mongostore.ServerReport) { r.NoJournal = true }, "no journal", "replica set rs0 of 3"},
		{func(r *mongostore.ServerReport) { r.ReplicaSet, r.Members, r.Sharded = "", 0, true }, "", "sharded, writes wait for a majority"},
		{func(r *mongostore.ServerReport) { r.ClockOffset = -3 * time.Second }, "clock is off by 3s", ""},
		{func(r *mongostore.ServerReport) { r.MissingIndexes = []string{"alerts.slot"} }, "alerts.slot", ""},
	} {
		r := set
		c.change(&r)
		ws := r.Warnings()
		if c.warning == "" && len(ws) > 0 || c.warning != "" && (len(ws) != 1 || !strings.Contains(ws[0].Text, c.warning) || ws[0].Hint == "") {
			t.Errorf("%+v: warnings %q, want %q", r, ws, c.warning)
		}
		if !strings.Contains(r.String(), c.text) {
			t.Errorf("%s: want %q", r, c.text)
		}
	}
}

// A server without transactions is refused, with one line.
func TestOpenWithoutTransactions(t *testing.T) {
	standalone := mongotest.StartProcess(t, t.TempDir(), "127.0.0.1:0", "--standalone")
	_, err := mongostore.Open(t.Context(), standalone.Database(t), mongostore.Options{})
	if !errors.Is(err, mongostore.ErrNoTransactions) || strings.Contains(err.Error(), "\n") {
		t.Errorf("open: %v", err)
	}
}
