{{- /*
The Deployment of one of the two processes. Each process has a template with its own part: args,
ports, mounts and volumes.
*/}}
{{- define "mtls-egress-webhook.deployment" -}}
{{- $deployment := (get .top.Values .component).deployment -}}
{{- $part := printf "mtls-egress-webhook.%s" .component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "mtls-egress-webhook.componentMetadata" (merge (dict "annotations" $deployment.annotations) .) | nindent 2 }}
spec:
  replicas: {{ $deployment.replicas }}
  revisionHistoryLimit: {{ $deployment.revisionHistoryLimit }}
  selector:
    matchLabels:
      {{- include "mtls-egress-webhook.componentSelectorLabels" . | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels:
        {{- $own := dict "sidecar.istio.io/inject" "false" }}
        {{- $labels := merge $own (include "mtls-egress-webhook.componentLabels" . | fromYaml) ($deployment.podLabels | default dict) }}
        {{- toYaml $labels | nindent 8 }}
      {{- with $deployment.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "mtls-egress-webhook.serviceAccount" . }}
      # The token is mounted explicitly below.
      automountServiceAccountToken: false
      {{- with .top.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ $deployment.terminationGracePeriodSeconds }}
      securityContext:
        {{- include "mtls-egress-webhook.podSecurityContext" .top | nindent 8 }}
      containers:
      - name: {{ .component }}
        image: {{ include "mtls-egress-webhook.image" .top | quote }}
        imagePullPolicy: {{ .top.Values.image.pullPolicy }}
        args:
        - serve
        - {{ .component }}
        {{- include (printf "%s.args" $part) .top | nindent 8 }}
        {{- include "mtls-egress-webhook.sharedArgs" .top | nindent 8 }}
        {{- range $deployment.extraArgs }}
        - {{ . | quote }}
        {{- end }}
        env:
        - name: POD_NAMESPACE
          valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
        - name: POD_IPS
          valueFrom: {fieldRef: {fieldPath: status.podIPs}}
        # The garbage collector runs more often near the memory limit.
        - name: GOMEMLIMIT
          valueFrom: {resourceFieldRef: {resource: limits.memory}}
        {{- with $deployment.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        ports:
        {{- with include (printf "%s.ports" $part) .top | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        - {name: metrics, containerPort: 8080, protocol: TCP}
        - {name: health, containerPort: 8081, protocol: TCP}
        livenessProbe:
          httpGet: {path: /healthz, port: health}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 3
        readinessProbe:
          httpGet: {path: /readyz, port: health}
          # Three periods fit into the default webhook.deployment.shutdownDelay, so that no request
          # reaches a Pod that has stopped.
          periodSeconds: 3
          timeoutSeconds: 2
          failureThreshold: 1
        resources:
          {{- toYaml $deployment.resources | nindent 10 }}
        securityContext:
          {{- include "mtls-egress-webhook.containerSecurityContext" .top | nindent 10 }}
        volumeMounts:
        - {{ include "mtls-egress-webhook.tokenMount" .top | indent 10 | trim }}
        {{- with include (printf "%s.volumeMounts" $part) .top | trim }}
        {{- . | nindent 8 }}
        {{- end }}
      volumes:
      - {{ include "mtls-egress-webhook.tokenVolume" .top | indent 8 | trim }}
      {{- with include (printf "%s.volumes" $part) .top | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with $deployment.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $deployment.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
      {{- if kindIs "invalid" $deployment.topologySpreadConstraints }}
      {{- $selector := include "mtls-egress-webhook.componentSelectorLabels" . }}
      {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
      - topologyKey: {{ . }}
        maxSkew: 1
        whenUnsatisfiable: ScheduleAnyway
        # Count only the Pods of the new ReplicaSet. Otherwise an update ends with an uneven spread.
        matchLabelKeys: [pod-template-hash]
        labelSelector:
          matchLabels:
            {{- $selector | nindent 12 }}
      {{- end }}
      {{- else }}
        {{- toYaml $deployment.topologySpreadConstraints | nindent 8 }}
      {{- end }}
{{- end }}

{{- /* The arguments of both processes. */}}
{{- define "mtls-egress-webhook.sharedArgs" -}}
- --metrics-address=:8080
- --health-address=:8081
- --namespace=$(POD_NAMESPACE)
{{- with .Values.policy.allowedTargets }}
- {{ printf "--allowed-targets=%s" (join "," .) | quote }}
{{- end }}
- --other-targets={{ .Values.policy.otherTargets }}
{{- with .Values.policy.allowedEndpoints }}
- {{ printf "--allowed-endpoints=%s" (join "," .) | quote }}
{{- end }}
- --cluster-domain={{ .Values.clusterDomain }}
- --sinkhole-ranges={{ join "," .Values.sinkholeRanges }}
- --pod-ips=$(POD_IPS)
- --mesh-config={{ .Values.istio.meshConfigMap }}
- --root-namespace={{ .Values.istio.rootNamespace }}
- --log-format={{ .Values.log.format }}
- --log-level={{ .Values.log.level }}
{{- end }}
