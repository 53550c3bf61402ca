package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"mtls.egress/webhook/internal/workload"
)

// clusterAt returns a kubeconfig for an API server at url.
func clusterAt(t *testing.T, url string) string {
	t.Helper()
	return kubeconfigOf(t, url, `"token":"t"`)
}

// kubeconfigOf returns a kubeconfig for an API server at url. user has the fields of the user.
func kubeconfigOf(t *testing.T, url, user string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(
		`{"apiVersion":"v1","kind":"Config","current-context":"c","clusters":[{"name":"c","cluster":{"server":%q,`+
			`"insecure-skip-tls-verify":true}}],"users":[{"name":"u","user":{%s}}],"contexts":[{"name":"c",`+
			`"context":{"cluster":"c","user":"u"}}]}`,
		url, user,
	)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// apiAnswers simulates an API server, or another server in its place. It maps path prefixes to a
// status and a body; the longest prefix wins.
type apiAnswers map[string]apiAnswer

type apiAnswer struct {
	status int
	body   any
}

func (a apiAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	longest := ""
	for prefix := range a {
		if strings.HasPrefix(r.URL.Path, prefix) && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	said := a[longest]
	if said.status == 0 {
		// The response of an API server for an unknown path.
		http.Error(w, "404 page not found", http.StatusNotFound)
		return
	}
	if text, isText := said.body.(string); isText {
		w.WriteHeader(said.status)
		_, _ = w.Write([]byte(text))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(said.status)
	_ = json.NewEncoder(w).Encode(said.body)
}

func refusedWith(err *apierrors.StatusError) apiAnswer {
	err.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return apiAnswer{int(err.ErrStatus.Code), err.ErrStatus}
}

func groups(names ...string) apiAnswer {
	list := metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"},
		Groups:   []metav1.APIGroup{},
	}
	for _, name := range names {
		version := metav1.GroupVersionForDiscovery{GroupVersion: name + "/v1", Version: "v1"}
		if name == "mtls.egress" {
			version = metav1.GroupVersionForDiscovery{GroupVersion: name + "/v1alpha1", Version: "v1alpha1"}
		}
		list.Groups = append(
			list.Groups,
			metav1.APIGroup{
				Name:             name,
				Versions:         []metav1.GroupVersionForDiscovery{version},
				PreferredVersion: version,
			},
		)
	}
	return apiAnswer{http.StatusOK, list}
}

// cluster returns the responses of a cluster with the CRD, with changes.
func cluster(changes apiAnswers) apiAnswers {
	all := apiAnswers{
		"/api": {
			http.StatusOK,
			metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}},
		},
		"/api/v1": {
			http.StatusOK,
			metav1.APIResourceList{
				TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
				GroupVersion: "v1",
				APIResources: []metav1.APIResource{
					{Name: "pods", Kind: "Pod", Namespaced: true},
					{Name: "secrets", Kind: "Secret", Namespaced: true},
				},
			},
		},
		"/api/v1/pods": {
			http.StatusOK,
			metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}},
		},
		"/apis": groups("apps", "mtls.egress"),
		"/apis/mtls.egress/v1alpha1": {http.StatusOK, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"}, GroupVersion: "mtls.egress/v1alpha1",
			APIResources: []metav1.APIResource{{Name: "egresstargets", Kind: "EgressTarget", Namespaced: true}},
		}},
		"/apis/mtls.egress/v1alpha1/egresstargets": {
			http.StatusOK,
			metav1.PartialObjectMetadataList{
				TypeMeta: metav1.TypeMeta{APIVersion: "mtls.egress/v1alpha1", Kind: "EgressTargetList"},
			},
		},
	}
	maps.Copy(all, changes)
	return all
}

func everywhere(said apiAnswer) apiAnswers { return apiAnswers{"/": said} }

const nothingLeft = "all objects of the controller are deleted\n"

// A failed request must not count as a result.
func TestNothingIsTakenForDoneUnasked(t *testing.T) {
	egressTargets := schema.GroupResource{Group: "mtls.egress", Resource: "egresstargets"}
	const list = "/apis/mtls.egress/v1alpha1/egresstargets"
	tests := map[string]struct {
		server http.Handler
		// stdout is the output of the cleanup, problem a part of its error, and check a part of the
		// error of uninstall-check, or - if it succeeds.
		stdout, problem, check string
	}{
		"an empty cluster": {server: cluster(nil), stdout: nothingLeft, check: "-"},
		"a cluster without the CRD": {
			server: cluster(apiAnswers{"/apis": groups("apps"), "/apis/mtls.egress/v1alpha1": {}, list: {}}),
			stdout: nothingLeft,
			check:  "-",
		},
		"no server listens": {problem: "connection refused", check: "connection refused"},
		"a token that has expired": {
			server:  everywhere(refusedWith(apierrors.NewUnauthorized("Unauthorized"))),
			problem: "Unauthorized",
			check:   "provide credentials",
		},
		"an account that may ask nothing": {
			server:  everywhere(refusedWith(apierrors.NewForbidden(schema.GroupResource{}, "", nil))),
			problem: "forbidden",
			check:   "failed to get server groups",
		},
		"an account that may not list": {
			server: cluster(
				apiAnswers{
					list: refusedWith(apierrors.NewForbidden(egressTargets, "", nil)),
					"/api/v1/pods": refusedWith(
						apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)),
				},
			),
			problem: "forbidden",
			check:   "forbidden",
		},
		"a server that never answers": {
			server:  http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
			problem: "context deadline exceeded",
			check:   "deadline exceeded",
		},
		"a server that is overloaded": {
			server:  everywhere(refusedWith(apierrors.NewServiceUnavailable("etcd is down"))),
			problem: "etcd is down",
			check:   "unable to handle the request",
		},
		"a server that failed": {
			server:  everywhere(apiAnswer{http.StatusInternalServerError, "oops"}),
			problem: "an error on the server",
			check:   "an error on the server",
		},
		"another server, which knows no path": {
			server:  apiAnswers{},
			problem: "is not a Kubernetes API server",
			check:   "could not find the requested resource",
		},
		"another server, which likes all paths": {
			server:  everywhere(apiAnswer{http.StatusOK, "<html>"}),
			problem: "is not a Kubernetes API server",
			check:   "failed to get server groups",
		},
		"another server, which speaks JSON": {
			server:  everywhere(apiAnswer{http.StatusOK, map[string]any{}}),
			problem: "is not a Kubernetes API server",
			check:   "no matches for kind",
		},
		"a server without any API": {
			server:  cluster(apiAnswers{"/apis": groups()}),
			problem: "lists no API groups",
			check:   "-",
		},
		"a CRD that is just going": {
			server:  cluster(apiAnswers{list: {}}),
			problem: "list the EgressTargets",
			check:   "-",
		},
		"another version of the CRD": {
			server:  cluster(apiAnswers{"/apis/mtls.egress/v1alpha1": {}, list: {}}),
			problem: "list the EgressTargets",
			check:   "-",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(test.server)
			if test.server != nil {
				server.Start()
			}
			t.Cleanup(server.Close)
			kubeconfig := clusterAt(t, "http://"+server.Listener.Addr().String())
			if test.server == nil {
				_ = server.Listener.Close()
			}
			// A fault persists, so the command retries until the timeout. A good response ends it.
			timeout := 5 * time.Second
			if test.problem == "" {
				timeout = time.Minute
			}
			stdout, _, err := execute("uninstall-cleanup", "--kubeconfig", kubeconfig, "--timeout", timeout.String())
			if diff := cmp.Diff(test.stdout, stdout); diff != "" || (err == nil) != (test.problem == "") ||
				test.problem != "" && !strings.Contains(err.Error(), test.problem) {
				t.Errorf("the cleanup returned %v, want %q; standard output (-want +got):\n%s", err, test.problem, diff)
			}
			if (ExitCode(err) == ExitFine) != (test.problem == "") {
				t.Errorf("the cleanup exits with %d", ExitCode(err))
			}
			if test.check == "-" {
				return
			}
			config, err := restConfig(kubeconfig, "")
			if err != nil {
				t.Fatal(err)
			}
			config.Timeout = timeout
			c, _, err := cleanupClient(config)
			if err != nil {
				t.Fatal(err)
			}
			var out, table bytes.Buffer
			if err := checkUninstall(t.Context(), c, workload.Known(), outputText, &out,
				&table); err == nil || !strings.Contains(err.Error(), test.check) ||
				out.String() != "" {
				t.Errorf("the check returned %v, want %q; standard output %q", err, test.check, out.String())
			}
			if err := deleteAllTargets(t.Context(), c); err == nil {
				t.Error("deleteAllTargets succeeded without an answer")
			}
		})
	}
}
