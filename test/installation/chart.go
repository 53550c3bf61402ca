package installation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"

	"mtls.egress/webhook/test/await"
)

// chartArgs are the arguments of Helm that name the chart and its values; later values win.
func (i *Installation) chartArgs(values ...string) []string {
	args := []string{Release, filepath.Join(i.Root, "charts", "mtls-egress-webhook"), "--namespace", Namespace}
	for _, value := range append(
		[]string{
			"image.repository=" + Release, "webhook.deployment.shutdownDelay=0s", "controller.targetRetention=2s",
		}, values...,
	) {
		args = append(args, "--set", value)
	}
	return args
}

// beside are the values that put both processes outside of the cluster.
func (i *Installation) beside() []string {
	return []string{
		"webhook.deployment.enabled=false", "controller.deployment.enabled=false", "webhook.url=https://" + i.address(),
	}
}

// address is where the API server finds the webhook.
func (i *Installation) address() string {
	if i.service != nil {
		return i.service.address()
	}
	return i.Replicas[0].address
}

func (i *Installation) install(ctx context.Context, values []string) error {
	i.values = values
	args := append([]string{"install", "--create-namespace"}, i.chartArgs(append(i.beside(), values...)...)...)
	if _, _, err := i.Helm(ctx, args...); err != nil {
		return err
	}
	if _, _, err := i.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout="+await.Patience.String(),
		"customresourcedefinition/egresstargets.mtls.egress"); err != nil {
		return err
	}
	return errors.Join(i.connect(ctx, Release), i.connect(ctx, ControllerName))
}

// Upgrade installs the chart with other values, which replace those of Options. Arguments of a
// process that follow from them count from its next start.
func (i *Installation) Upgrade(ctx context.Context, values ...string) error {
	i.values = values
	_, _, err := i.Helm(ctx, append([]string{"upgrade"}, i.chartArgs(append(i.beside(), values...)...)...)...)
	return err
}

// containers returns the container of each Deployment that the chart renders, by the name of the
// Deployment.
func (i *Installation) containers(ctx context.Context) (map[string]*corev1.Container, error) {
	manifests, _, err := i.Helm(ctx, append([]string{"template"}, i.chartArgs(i.values...)...)...)
	if err != nil {
		return nil, err
	}
	found := map[string]*corev1.Container{}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		if kind.Kind != "Deployment" {
			continue
		}
		var deployment appsv1.Deployment
		if err := yaml.UnmarshalStrict(document, &deployment); err != nil {
			return nil, fmt.Errorf("reading a Deployment of the chart: %w", err)
		}
		container := &deployment.Spec.Template.Spec.Containers[0]
		for n := range container.Args {
			container.Args[n] = strings.NewReplacer("$(POD_NAMESPACE)", Namespace, "$(POD_IPS)", "10.0.0.1").
				Replace(container.Args[n])
		}
		found[deployment.Name] = container
	}
}

func (i *Installation) kubeconfigOf(account string) string {
	return filepath.Join(i.Dir, account+".kubeconfig")
}

// connect writes a kubeconfig with a token of one of the chart's service accounts, so that who uses
// it has the rights that the chart gives and no others.
func (i *Installation) connect(ctx context.Context, account string) error {
	path := i.kubeconfigOf(account)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	token, err := i.Admin.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64((24 * time.Hour).Seconds()))},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking for a token of the service account %s: %w", account, err)
	}
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{Release: {Server: i.Config.Host, CertificateAuthorityData: i.Config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{Release: {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{Release: {Cluster: Release, AuthInfo: Release}},
		CurrentContext: Release,
	}, path)
}
