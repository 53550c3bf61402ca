{{/*
A CEL expression that is true unless the object is a revision of the Pod template of another workload,
which controls it: the ReplicaSet of a Deployment or of an Argo Rollout, or the ReplicationController of
an OpenShift DeploymentConfig. Such an object copies the annotations and the template of that workload,
and it must be scalable while the webhook is down. Workloads with any other controller are ordinary
workloads, including Jobs of a CronJob: they can have annotations from the jobTemplate that exist
nowhere else.
*/}}
{{- define "mtls-egress-webhook.notControlled" -}}
!object.metadata.?ownerReferences.orValue([]).exists(owner, owner.?controller.orValue(false) &&
  request.kind.kind + ' ' + owner.kind + ' ' + owner.apiVersion.split('/')[0] in [
    'ReplicaSet Deployment apps', 'ReplicaSet Rollout argoproj.io', 'ReplicationController DeploymentConfig apps.openshift.io'])
{{- end }}
