package main

import (
	"context"
	"time"

	"github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
)

// workers is how many objects each controller works on at a time, as by default upstream.
const workers = 5

// controllerProgram runs every controller that the imports above have registered.
func controllerProgram(flags *pflag.FlagSet) (func(context.Context) error, error) {
	// The values besides the flags are upstream's defaults:
	// https://github.com/cert-manager/cert-manager/blob/v1.21.2/internal/apis/config/controller/v1alpha1/defaults.go.
	options := controller.ContextOptions{
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes: []string{
				"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/",
			},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "file with the connection to the API server")
	flags.StringVar(&options.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system",
		"namespace of the Secrets of ClusterIssuers")
	return func(ctx context.Context) error {
		factory, err := controller.NewContextFactory(ctx, options)
		if err != nil {
			return err
		}
		base, err := factory.Build()
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		for _, construct := range controller.Known() {
			one, err := construct(factory)
			if err != nil {
				return err
			}
			group.Go(func() error { return one.Run(workers, ctx) })
		}
		base.SharedInformerFactory.Start(ctx.Done())
		base.KubeSharedInformerFactory.Start(ctx.Done())
		return group.Wait()
	}, nil
}
