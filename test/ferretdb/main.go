// Command ferretdb is a server that speaks MongoDB's protocol and stores its data in
// a directory of SQLite files, for tests of picket's MongoDB store without MongoDB.
// It ends when its standard input is closed, so that it does not outlive the test
// that started it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`ADDR` to listen on")
	dir := flag.String("dir", "", "`DIR` of the SQLite files")
	quick := flag.Bool("quick", false, "do not sync files to disk")
	flag.Parse()
	if err := serve(*listen, *dir, *quick); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(listen, dir string, quick bool) error {
	pragmas := url.Values{"_pragma": {"journal_mode(wal)", "busy_timeout(10000)"}}
	if quick {
		pragmas.Add("_pragma", "synchronous(off)")
	}
	f, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{TCP: listen},
		Logger:    slog.New(slog.DiscardHandler),
		Handler:   "sqlite",
		SQLiteURL: (&url.URL{Scheme: "file", OmitHost: true, Path: dir + "/", RawQuery: pragmas.Encode()}).String(),
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin) // returns when the test ends
		stop()
	}()
	go fmt.Println(f.MongoDBURI()) // waits for the listener, which Run creates
	return f.Run(ctx)
}
